//! What is printed: the checks of one server, and the rows of `--report`.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::expected::{Expected, Verdict};
use super::suite::{Findings, Outcome, Plan, Row};

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const DIM: Style = Style::new().dimmed();

/// One line to standard output.
pub fn say(text: impl Display) -> Result<(), String> {
    writeln!(anstream::stdout(), "{text}").map_err(|e| format!("stdout: {e}"))
}

/// The table of one server. Returns whether all is as expected.
pub fn print(
    plan: &Plan,
    findings: &Findings,
    expected: &Expected,
    time: Duration,
) -> Result<bool, String> {
    let (mut ok, mut failed, mut expected_failures, mut not_applicable) = (0, 0, 0, 0);
    let mut names = Vec::new();
    let mut left_out: Vec<(&String, Vec<&str>)> = Vec::new(); // a reason, and its checks
    let protocol = if findings.one_frame { "one frame a connection" } else { "many frames" };
    say(format_args!("{}, {protocol}", plan.name))?;
    for row in &findings.rows {
        let (id, sentence) = (row.check.id, row.check.sentence);
        let (Outcome::Passed(observed)
        | Outcome::Failed(observed)
        | Outcome::NotApplicable(observed)) = &row.outcome;
        let (style, word, why) = match expected.judge(&plan.name, id, &row.outcome) {
            Verdict::Ok => {
                ok += 1;
                (GOOD, "ok", None)
            }
            Verdict::NotApplicable => {
                not_applicable += 1;
                match left_out.iter_mut().find(|(why, _)| *why == observed) {
                    Some((_, checks)) => checks.push(id),
                    None => left_out.push((observed, vec![id])),
                }
                continue;
            }
            Verdict::FailsAsExpected(why) => {
                expected_failures += 1;
                (DIM, "fails", Some(format!("as expected: {why}")))
            }
            Verdict::Failed => {
                failed += 1;
                names.push(id);
                (BAD, "FAILED", None)
            }
            Verdict::FailureDidNotCome(why) => {
                failed += 1;
                names.push(id);
                (BAD, "PASSED", Some(format!("should have failed: {why}")))
            }
        };
        say(format_args!("  {style}{word:<6}{style:#}  {id:<14}  {sentence}"))?;
        say(format_args!("          {DIM}expected{DIM:#}        {}", row.check.expected))?;
        say(format_args!("          {DIM}observed{DIM:#}        {observed}"))?;
        if let Some(why) = why {
            say(format_args!("          {DIM}{why}{DIM:#}"))?;
        }
    }
    for (why, checks) in left_out {
        say(format_args!("  {DIM}-{DIM:#}       {}", checks.join(", ")))?;
        say(format_args!("          {DIM}not applicable{DIM:#}  {why}"))?;
    }
    let style = if failed == 0 { GOOD } else { BAD };
    let lesson = if expected_failures == 0 {
        String::new()
    } else {
        format!(", {expected_failures} failed as expected")
    };
    say(format_args!(
        "{} checks: {ok} ok{lesson}, {style}{failed} unexpected{style:#}, \
         {not_applicable} not applicable, {:.1} s",
        findings.rows.len(),
        time.as_secs_f64()
    ))?;
    if failed > 0 {
        say(format_args!("{BAD}unexpected{BAD:#}: {}", names.join(", ")))?;
    }
    Ok(failed == 0)
}

/// A line of `--report`: server, check, result, expected, observed, milliseconds.
pub fn report_line(server: &str, row: &Row) -> String {
    let (result, observed) = match &row.outcome {
        Outcome::Passed(observed) => ("ok", observed),
        Outcome::Failed(observed) => ("FAILED", observed),
        Outcome::NotApplicable(why) => ("not applicable", why),
    };
    let (id, expected, ms) = (row.check.id, row.check.expected, row.time.as_millis());
    let observed = observed.replace(['\t', '\n'], " ");
    format!("{server}\t{id}\t{result}\t{expected}\t{observed}\t{ms}\n")
}

/// The first line of `--report`.
pub const REPORT_HEADER: &str = "server\tcheck\tresult\texpected\tobserved\tms\n";

/// Writes the rows of `--report` to a file.
pub fn write(path: &std::path::Path, lines: &str) -> io::Result<()> {
    std::fs::write(path, format!("{REPORT_HEADER}{lines}"))
}
