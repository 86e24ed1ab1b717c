//! What an experiment says: checks with expected and observed, verdicts on the article's claims.

use std::fmt::{self, Display};
use std::mem;

use anstyle::{AnsiColor, Style};

use crate::say;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const MIDDLE: Style = AnsiColor::Yellow.on_default();
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

/// How an experiment came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was checked, and all of it is as expected.
    Ok,
    /// All that could be judged is as expected; but the link was late, and something could not.
    NotJudged,
    /// Something is not as expected, or nothing was checked.
    Failed,
}

/// What has been checked and answered so far.
#[derive(Default)]
pub struct Tally {
    checks: usize,
    failed: usize,
    not_judged: usize,
    answers: Vec<(&'static str, Verdict, String)>,
    /// Claims without an answer, and why.
    unanswered: Vec<(&'static str, String)>,
}

impl Tally {
    /// A check that the two are equal, as text.
    pub fn check(&mut self, what: impl Display, expected: impl Display, observed: impl Display) {
        self.timed(None).check(what, expected, observed);
    }

    /// A check that something holds of what was observed. `expected` says what, in words.
    pub fn check_that(
        &mut self,
        what: impl Display,
        expected: impl Display,
        observed: impl Display,
        ok: bool,
    ) {
        self.timed(None).check_that(what, expected, observed, ok);
    }

    /// What the wire says to a claim of the article. `observed` reads the same on every run: bounds
    /// and counts, not figures that vary.
    pub fn claim(&mut self, id: &'static str, verdict: Verdict, observed: impl Display) {
        self.timed(None).claim(id, verdict, observed);
    }

    /// A claim that has no answer here.
    pub fn no_answer(&mut self, id: &'static str, why: impl Display) {
        self.unanswered.push((id, why.to_string()));
    }

    /// For checks and claims that a late link changes, and how late it was if it was too late.
    pub fn timed(&mut self, late: Option<String>) -> Timed<'_> {
        Timed { tally: self, late }
    }

    /// Prints the answers and the sum. Where a check failed there is no answer: it was not the
    /// experiment that gives one.
    ///
    /// `sent_again`: the link was so late that a host may have sent a segment again, which no check
    /// expects. What failed then is not judged.
    pub fn finish(&mut self, sent_again: Option<String>) {
        if let Some(late) = sent_again.filter(|_| self.failed > 0) {
            line(format_args!("  {MIDDLE}what failed is not judged{MIDDLE:#}: {late}"));
            self.not_judged += mem::take(&mut self.failed);
            let answers = self.answers.drain(..);
            self.unanswered.extend(answers.map(|(id, ..)| (id, late.clone())));
        }
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
        for (id, why) in &self.unanswered {
            line(format_args!("  {DIM}claim{DIM:#} {id}: {MIDDLE}no verdict{MIDDLE:#}: {why}"));
        }
        let Tally { checks, failed, not_judged, .. } = *self;
        let mut sum = format!("{checks} checks, {GOOD}{} ok{GOOD:#}", checks - failed - not_judged);
        if not_judged > 0 {
            sum += &format!(", {MIDDLE}{not_judged} not judged{MIDDLE:#}");
        }
        if failed > 0 {
            sum += &format!(", {BAD}{failed} FAILED{BAD:#}");
        }
        line(format_args!("  {sum}"));
    }

    /// How it came out.
    pub fn outcome(&self) -> Outcome {
        match (self.checks, self.failed, self.not_judged) {
            (0, ..) | (_, 1.., _) => Outcome::Failed,
            (_, 0, 1..) => Outcome::NotJudged,
            (_, 0, 0) => Outcome::Ok,
        }
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: Tally) {
        self.checks += other.checks;
        self.failed += other.failed;
        self.not_judged += other.not_judged;
        self.answers.extend(other.answers);
        self.unanswered.extend(other.unanswered);
    }

    /// One line a fact, fields separated by tabs: `checks`, how many, how many failed; `claim`, id,
    /// verdict, observed; `unanswered`, id, why.
    pub fn machine_readable(&self) -> String {
        let mut text = format!("checks\t{}\t{}\n", self.checks, self.failed);
        for (id, verdict, observed) in &self.answers {
            text += &format!("claim\t{id}\t{verdict}\t{observed}\n");
        }
        for (id, why) in &self.unanswered {
            text += &format!("unanswered\t{id}\t{why}\n");
        }
        text
    }
}

/// What is judged if the link was on time.
pub struct Timed<'a> {
    tally: &'a mut Tally,
    /// How late it was; `None`: on time.
    late: Option<String>,
}

impl Timed<'_> {
    /// A check, as [`Tally::check`].
    pub fn check(&mut self, what: impl Display, expected: impl Display, observed: impl Display) {
        let (expected, observed) = (expected.to_string(), observed.to_string());
        self.check_that(what, &expected, &observed, expected == observed);
    }

    /// A check, as [`Tally::check_that`].
    pub fn check_that(
        &mut self,
        what: impl Display,
        expected: impl Display,
        observed: impl Display,
        ok: bool,
    ) {
        let tally = &mut *self.tally;
        tally.checks += 1;
        let (style, word) = match &self.late {
            Some(late) => {
                tally.not_judged += 1;
                (MIDDLE, format!("not judged: {late}"))
            }
            None if ok => (GOOD, "ok".to_owned()),
            None => {
                tally.failed += 1;
                (BAD, "FAILED".to_owned())
            }
        };
        line(format_args!("  {what}"));
        line(format_args!("            {DIM}expected{DIM:#}  {expected}"));
        line(format_args!("            {DIM}observed{DIM:#}  {observed}   {style}{word}{style:#}"));
    }

    /// An answer to a claim, as [`Tally::claim`].
    pub fn claim(&mut self, id: &'static str, verdict: Verdict, observed: impl Display) {
        match &self.late {
            Some(late) => self.tally.no_answer(id, late),
            None => self.tally.answers.push((id, verdict, observed.to_string())),
        }
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

/// One line to standard output.
pub fn line(text: fmt::Arguments) {
    say::line(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_where_the_link_was_very_late_is_not_judged() {
        for (late, outcome) in [(Some("late".into()), Outcome::NotJudged), (None, Outcome::Failed)]
        {
            let mut tally = Tally::default();
            tally.check("sum", 5, 4);
            tally.finish(late);
            assert_eq!(tally.outcome(), outcome);
        }
    }

    #[test]
    fn a_failed_check_takes_the_answers_away() {
        let mut tally = Tally::default();
        tally.check("sum", 4, 2 + 2);
        tally.claim("Z1", Verdict::holds_if(true), "4");
        assert_eq!(tally.machine_readable(), "checks\t1\t0\nclaim\tZ1\tholds\t4\n");
        tally.check("sum", 5, 2 + 2);
        tally.finish(None);
        assert_eq!(tally.outcome(), Outcome::Failed);
        assert_eq!(tally.machine_readable(), "checks\t2\t1\n");
    }

    #[test]
    fn nothing_checked_is_not_ok() {
        assert_eq!(Tally::default().outcome(), Outcome::Failed);
    }

    #[test]
    fn what_a_late_link_changes_is_neither_ok_nor_failed() {
        for ok in [true, false] {
            let mut tally = Tally::default();
            tally.check("sum", 4, 2 + 2);
            tally.claim("Z1", Verdict::holds_if(true), "4");
            let mut timed = tally.timed(Some("the link was 4 ms late".into()));
            timed.check_that("time", "1 ms", "5 ms", ok);
            timed.claim("Z2", Verdict::holds_if(ok), "1 ms");
            tally.finish(None);
            assert_eq!(tally.outcome(), Outcome::NotJudged);
            let facts = "checks\t2\t0\nclaim\tZ1\tholds\t4\n\
                         unanswered\tZ2\tthe link was 4 ms late\n";
            assert_eq!(tally.machine_readable(), facts);
            // A late link excuses nothing else.
            tally.check("sum", 5, 2 + 2);
            assert_eq!(tally.outcome(), Outcome::Failed);
        }
    }

    #[test]
    fn a_link_that_was_on_time_excuses_nothing() {
        let mut tally = Tally::default();
        tally.timed(None).check_that("time", "1 ms", "5 ms", false);
        assert_eq!(tally.outcome(), Outcome::Failed);
    }
}
