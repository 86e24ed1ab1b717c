//! Rounds of samples: in each round everything is measured once, so that all of it sees the same
//! weather. A sample is contended where somebody else had its core for more than 5 % of the time.
//! It is thrown away and taken again, a few times at most.

use std::io::{self, ErrorKind, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// So often a contended sample is taken again, before it is taken as it is.
const RETRIES: u32 = 3;
/// So many are taken again in all, as a share of the planned: a busy machine stays busy.
const MOST_RETRIES: f64 = 0.25;

/// One thing to measure.
pub struct Case {
    pub section: &'static str,
    pub peer: String,
    /// The payload's size, the number of cores, of connections: what varies in this section.
    pub x: usize,
    /// In how many rounds at the most: an instruction count repeats exactly.
    pub rounds: u32,
    /// Takes a sample of about so long. `Unsupported`: it cannot be had here, and why.
    #[allow(clippy::type_complexity)]
    pub run: Box<dyn Fn(Duration) -> io::Result<Sample>>,
}

/// What one sample gave.
pub struct Sample {
    /// By metric, which is also its unit.
    pub values: Vec<(&'static str, f64)>,
    /// Somebody else had the core for more than 5 % of the time.
    pub contended: bool,
}

/// How often and how long to measure.
pub struct Plan {
    pub rounds: u32,
    pub sample: Duration,
}

/// One value of one sample.
pub struct Row {
    pub section: &'static str,
    pub peer: String,
    pub x: usize,
    pub metric: &'static str,
    pub round: u32,
    pub value: f64,
    pub contended: bool,
}

/// All that was measured.
pub struct Measured {
    pub rows: Vec<Row>,
    /// Samples taken again because they were contended.
    pub retried: u32,
    /// Samples that were contended still, and were kept.
    pub kept: u32,
}

impl Measured {
    /// The median over the rounds.
    pub fn median(&self, section: &str, peer: &str, x: usize, metric: &str) -> Option<f64> {
        let same =
            |r: &&Row| r.section == section && r.peer == peer && r.x == x && r.metric == metric;
        let mut values: Vec<f64> = self.rows.iter().filter(same).map(|r| r.value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            n if n % 2 == 0 => Some((values[middle - 1] + values[middle]) / 2.0),
            _ => Some(values[middle]),
        }
    }

    /// Each different value of a column, in the order of its first row.
    pub fn distinct<'a, T: PartialEq>(
        &'a self,
        section: &str,
        metric: &str,
        column: impl Fn(&'a Row) -> T,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for row in self.rows.iter().filter(|r| r.section == section && r.metric == metric) {
            let value = column(row);
            if !found.contains(&value) {
                found.push(value);
            }
        }
        found
    }

    /// Section and metric of each table.
    pub fn tables(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        for row in &self.rows {
            if !found.contains(&(row.section, row.metric)) {
                found.push((row.section, row.metric));
            }
        }
        found
    }
}

/// Measures all of it. A case that cannot be had is noted, and left out from then on.
pub fn measure(cases: Vec<Case>, plan: &Plan, notes: &mut Vec<String>) -> io::Result<Measured> {
    let mut measured = Measured { rows: Vec::new(), retried: 0, kept: 0 };
    let samples = |case: &Case| u64::from(case.rounds.min(plan.rounds));
    let planned = cases.iter().map(samples).sum();
    let mut retries = (planned as f64 * MOST_RETRIES) as u32;
    let bar = progress_bar(planned);
    let mut left_out = vec![false; cases.len()];
    for round in 0..plan.rounds {
        if !io::stderr().is_terminal() {
            eprintln!("speed: round {} of {}", round + 1, plan.rounds);
        }
        for (i, case) in cases.iter().enumerate() {
            if left_out[i] || round >= case.rounds {
                continue;
            }
            bar.set_message(format!("{} {} {}", case.section, case.x, case.peer));
            match sample(case, plan.sample, &mut retries, &mut measured) {
                Ok(sample) => measured.rows.extend(sample.values.iter().map(|&(metric, value)| {
                    let contended = sample.contended;
                    let (section, peer, x) = (case.section, case.peer.clone(), case.x);
                    Row { section, peer, x, metric, round, value, contended }
                })),
                Err(e) if e.kind() == ErrorKind::Unsupported => {
                    left_out[i] = true;
                    notes.push(format!("{} {} at {}: {e}", case.section, case.peer, case.x));
                }
                Err(e) => {
                    let text = format!("{} {} at {}: {e}", case.section, case.peer, case.x);
                    return Err(io::Error::new(e.kind(), text));
                }
            }
            bar.inc(if left_out[i] { samples(case) - u64::from(round) } else { 1 });
        }
    }
    bar.finish_and_clear();
    Ok(measured)
}

fn sample(
    case: &Case,
    time: Duration,
    retries: &mut u32,
    measured: &mut Measured,
) -> io::Result<Sample> {
    let mut sample = (case.run)(time)?;
    for _ in 0..RETRIES.min(*retries) {
        if !sample.contended {
            break;
        }
        *retries -= 1;
        measured.retried += 1;
        sample = (case.run)(time)?;
    }
    measured.kept += u32::from(sample.contended);
    Ok(sample)
}

/// Drawn on a terminal only.
fn progress_bar(samples: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(samples), ProgressDrawTarget::stderr());
    let template = "{bar:30} {pos}/{len} {elapsed}, {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
