//! What an experiment says: checks with expected and observed, verdicts on the article's claims.

use std::fmt::{self, Display};
use std::io::Write;

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// How a claim came out. It is made from what a run observed, so that it could come out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the article has it.
    Holds,
    /// Under a condition that the article leaves out.
    HoldsWhen(&'static str),
    /// Not on this kernel.
    DoesNotHold,
}

impl Verdict {
    /// `Holds` or `DoesNotHold`.
    pub fn holds_if(observed: bool) -> Verdict {
        if observed { Verdict::Holds } else { Verdict::DoesNotHold }
    }

    /// Where it does not hold as the article has it, perhaps it does under a condition.
    pub fn or_when(self, observed: bool, condition: &'static str) -> Verdict {
        let conditional = self == Verdict::DoesNotHold && observed;
        if conditional { Verdict::HoldsWhen(condition) } else { self }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Holds => f.write_str("holds"),
            Verdict::HoldsWhen(condition) => write!(f, "holds when {condition}"),
            Verdict::DoesNotHold => f.write_str("does not hold on Linux"),
        }
    }
}

/// What has been checked and answered so far.
#[derive(Default)]
pub struct Tally {
    checks: usize,
    failed: usize,
    answers: Vec<(&'static str, Verdict, String)>,
}

impl Tally {
    /// A check that the two are equal, as text.
    pub fn check(&mut self, what: impl Display, expected: impl Display, observed: impl Display) {
        let (expected, observed) = (expected.to_string(), observed.to_string());
        self.check_that(what, &expected, &observed, expected == observed);
    }

    /// A check that something holds of what was observed. `expected` says what, in words.
    pub fn check_that(
        &mut self,
        what: impl Display,
        expected: impl Display,
        observed: impl Display,
        ok: bool,
    ) {
        self.checks += 1;
        self.failed += usize::from(!ok);
        let (style, word) = if ok { (GOOD, "ok") } else { (BAD, "FAILED") };
        line(format_args!("  {what}"));
        line(format_args!("            {DIM}expected{DIM:#}  {expected}"));
        line(format_args!("            {DIM}observed{DIM:#}  {observed}   {style}{word}{style:#}"));
    }

    /// What the wire says to a claim of the article. `observed` reads the same on every run: bounds
    /// and counts, not figures that vary.
    pub fn claim(&mut self, id: &'static str, verdict: Verdict, observed: impl Display) {
        self.answers.push((id, verdict, observed.to_string()));
    }

    /// Prints the answers and the sum. Where a check failed there is no answer: it was not the
    /// experiment that gives one.
    pub fn finish(&mut self) {
        if self.failed > 0 {
            for (id, ..) in self.answers.drain(..) {
                line(format_args!(
                    "  {DIM}claim{DIM:#} {id}: {BAD}no verdict{BAD:#}, for a check failed"
                ));
            }
        }
        for (id, verdict, observed) in &self.answers {
            line(format_args!("  {DIM}claim{DIM:#} {id}: {BOLD}{verdict}{BOLD:#}: {observed}"));
        }
        match (self.checks, self.failed) {
            (n, 0) => line(format_args!("  {n} checks, {GOOD}{n} ok{GOOD:#}")),
            (n, failed) => line(format_args!("  {n} checks, {BAD}{failed} FAILED{BAD:#}")),
        }
    }

    /// Whether something was checked and nothing failed.
    pub fn ok(&self) -> bool {
        self.checks > 0 && self.failed == 0
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: Tally) {
        self.checks += other.checks;
        self.failed += other.failed;
        self.answers.extend(other.answers);
    }

    /// One line a fact, fields separated by tabs: `checks`, how many, how many failed; `claim`, id,
    /// verdict, observed.
    pub fn machine_readable(&self) -> String {
        let mut text = format!("checks\t{}\t{}\n", self.checks, self.failed);
        for (id, verdict, observed) in &self.answers {
            text += &format!("claim\t{id}\t{verdict}\t{observed}\n");
        }
        text
    }
}

/// An experiment's name and what it is about.
pub fn title(name: &str, sentence: &str) {
    line(format_args!("{BOLD}{name}{BOLD:#}  {sentence}"));
}

/// A line of what is going on, or of what was written where.
pub fn note(text: impl Display) {
    line(format_args!("  {DIM}{text}{DIM:#}"));
}

/// Something that went wrong with the experiment itself.
pub fn trouble(text: impl Display) {
    line(format_args!("  {BAD}FAILED{BAD:#}  {text}"));
}

/// One line to standard output. A reader who has gone away is no reason to panic.
pub fn line(text: fmt::Arguments) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_takes_the_answers_away() {
        let mut tally = Tally::default();
        tally.check("sum", 4, 2 + 2);
        tally.claim("Z1", Verdict::holds_if(true), "4");
        assert_eq!(tally.machine_readable(), "checks\t1\t0\nclaim\tZ1\tholds\t4\n");
        tally.check("sum", 5, 2 + 2);
        tally.finish();
        assert!(!tally.ok());
        assert_eq!(tally.machine_readable(), "checks\t2\t1\n");
    }

    #[test]
    fn nothing_checked_is_not_ok() {
        assert!(!Tally::default().ok());
    }
}
