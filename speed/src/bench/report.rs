//! Tables for a reader, and a row a sample for a program.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::measure::Measured;
use crate::targets::Verdict;
use crate::units::{bytes, digits};
use crate::{steps, stepwise};

/// One line a sample: comma-separated, a header first.
pub fn write_rows(path: &Path, measured: &Measured) -> io::Result<()> {
    let mut text = String::from("section,x,peer,metric,round,value,contended\n");
    for r in &measured.rows {
        let (peer, contended) = (r.peer.replace(',', ";"), u8::from(r.contended));
        let (section, x, metric, round, value) = (r.section, r.x, r.metric, r.round, r.value);
        let _ = writeln!(text, "{section},{x},{peer},{metric},{round},{value},{contended}");
    }
    fs::write(path, text).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

/// Everything, as text.
pub fn text(
    measured: &Measured,
    verdicts: &[Verdict],
    notes: &[String],
    out: &Path,
    pictures: &[PathBuf],
) -> String {
    let mut text = String::new();
    for series in steps::SERIES {
        text += &stepwise::table(measured, series);
    }
    for (section, metric) in measured.tables() {
        if !steps::SERIES.contains(&section) {
            text += &table(measured, section, metric);
        }
    }
    if !verdicts.is_empty() {
        let _ = write!(text, "{:<50}{:>9}{:>10}", "ratios", "demanded", "measured");
        let _ = writeln!(text, "{:>10}{:>10}{:>10}", "spinning", "raw", "by CPU");
    }
    for v in verdicts {
        let demanded = format!("{} {}", if v.at_least { ">=" } else { "<=" }, v.demanded);
        let _ = write!(text, "  {:<48}{demanded:>9}{:>10}", v.what, digits(v.measured));
        for beside in [v.spinning, v.raw, v.by_cpu] {
            let _ = write!(text, "{:>10}", beside.map_or(String::new(), digits));
        }
        let _ = writeln!(text, "  {}", verdict(v));
    }
    if !verdicts.is_empty() {
        let reached = verdicts.iter().filter(|v| v.reached()).count();
        let _ = writeln!(text, "  {reached} of {} reached", verdicts.len());
        text += FOOTNOTE;
    }
    for note in notes {
        let _ = writeln!(text, "skipped: {note}");
    }
    let Measured { retried, kept, .. } = measured;
    let _ = writeln!(
        text,
        "contended samples (a core was somebody else's for over 5 % of the time): \
         {retried} taken again, {kept} kept"
    );
    let _ = writeln!(text, "rows: {}", out.join("rows.csv").display());
    for picture in pictures {
        let _ = writeln!(text, "picture: {}", picture.display());
    }
    text
}

const FOOTNOTE: &str = "  spinning: the reader burns a core while it waits   \
    raw: bytes without any meaning, or the shortest round trip
  by CPU: the same by the busier side's CPU time, which a busy machine changes less
  short: not reached   beyond: in this run not even by the raw bytes
  The exit code is 0 whatever the verdicts; --strict makes it 1 where one is not ok.

";

fn verdict(v: &Verdict) -> &'static str {
    match v.reached() {
        true => "ok",
        false if v.beyond() => "beyond",
        false => "short",
    }
}

/// Medians: a line a peer, a column for each x.
fn table(measured: &Measured, section: &str, metric: &str) -> String {
    let mut text = format!("{:<32}", format!("{section}, {metric}"));
    let xs = measured.distinct(section, metric, |row| row.x);
    for &x in &xs {
        let _ = write!(text, "{:>11}", column(section, x));
    }
    text.push('\n');
    for peer in measured.distinct(section, metric, |row| row.peer.as_str()) {
        let _ = write!(text, "  {peer:<30}");
        for &x in &xs {
            let value = measured.median(section, peer, x, metric);
            let _ = write!(text, "{:>11}", value.map_or("-".into(), digits));
        }
        text.push('\n');
    }
    text + "\n"
}

/// What x means in this section.
pub fn column(section: &str, x: usize) -> String {
    match section {
        crate::roundtrip::SECTION if x == 1 => "one core".into(),
        crate::roundtrip::SECTION => "two cores".into(),
        crate::servers::SECTION => format!("{x} conn."),
        _ => bytes(x),
    }
}
