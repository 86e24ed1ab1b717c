//! What an example prints: checks with expected and observed, verdicts on the article's claims.

use std::fmt::{self, Display};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::claims;
use anstyle::{AnsiColor, Style};
use nix::errno::Errno;
use tcp_stream_io::UniqueFd;
use tcp_stream_io::addr::SockAddr;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// A role's way to say what it sees. Lines of both roles come out as they happen.
#[derive(Clone)]
pub struct Out {
    role: &'static str,
    tally: Arc<Mutex<Tally>>,
}

/// What has been checked and answered so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub checks: usize,
    pub failed: usize,
    /// This machine lacks what it takes.
    pub not_here: bool,
    pub verdicts: Vec<(String, Verdict, String)>,
}

impl Tally {
    /// One line a fact: `checks`, how many, how many failed; `claim`, id, verdict, observed.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut text = format!("checks\t{}\t{}\n", self.checks, self.failed);
        for (id, verdict, observed) in &self.verdicts {
            text += &format!("claim\t{id}\t{verdict}\t{observed}\n");
        }
        fs::write(path, text)
    }
}

impl Out {
    pub(crate) fn new(role: &'static str) -> Out {
        Out { role, tally: Arc::default() }
    }

    pub(crate) fn for_role(&self, role: &'static str) -> Out {
        Out { role, tally: Arc::clone(&self.tally) }
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        // A role that panicked while it held the lock has left nothing half done.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of what is going on.
    pub fn note(&self, what: impl Display) {
        let _lines_of_one_role_stay_together = self.tally();
        line(format_args!("  {DIM}{:<6}{DIM:#}  {what}", self.role));
    }

    /// A check that the two are equal, as text.
    pub fn check(&self, what: impl Display, expected: impl Display, observed: impl Display) {
        let (expected, observed) = (expected.to_string(), observed.to_string());
        self.check_that(what, &expected, &observed, expected == observed);
    }

    /// A check that something holds of what was observed. `expected` says what, in words.
    pub fn check_that(
        &self,
        what: impl Display,
        expected: impl Display,
        observed: impl Display,
        ok: bool,
    ) {
        let mut tally = self.tally();
        tally.checks += 1;
        tally.failed += usize::from(!ok);
        let (style, word) = if ok { (GOOD, "ok") } else { (BAD, "FAILED") };
        line(format_args!("  {DIM}{:<6}{DIM:#}  {what}", self.role));
        line(format_args!("            {DIM}expected{DIM:#}  {expected}"));
        line(format_args!("            {DIM}observed{DIM:#}  {observed}   {style}{word}{style:#}"));
    }

    /// Says that this machine lacks what it takes. Such a run may end without a check.
    pub fn not_here(&self, why: impl Display) -> io::Result<()> {
        self.note(format_args!("skipped: {why}"));
        self.tally().not_here = true;
        Ok(())
    }

    /// The kernel's answer to a claim of the article.
    pub fn claim(&self, id: &str, verdict: Verdict, observed: impl Display) {
        self.tally().verdicts.push((id.to_owned(), verdict, observed.to_string()));
    }
}

/// How a claim came out. It is made from what a run observed, so that it could come out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the article has it.
    Holds,
    /// Under a condition that the article leaves out.
    HoldsWhen(&'static str),
    /// Not on this kernel.
    DoesNotHold,
    /// This machine lacks what it takes to see it.
    NotObserved,
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
            Verdict::NotObserved => f.write_str("not observed here"),
        }
    }
}

/// What a system call said: what it returned, or the name of its error.
///
/// An error without errno prints as its kind: `UnexpectedEof`, `TimedOut`.
pub fn said<T: Returned>(result: &io::Result<T>) -> String {
    match result {
        Ok(value) => value.to_text(),
        Err(e) => match e.raw_os_error() {
            Some(errno) => format!("{:?}", Errno::from_raw(errno)),
            None => format!("{:?}", e.kind()),
        },
    }
}

/// What a call can return when it succeeds.
pub trait Returned {
    /// As it is printed; "ok" where there is nothing to tell.
    fn to_text(&self) -> String;
}

macro_rules! returned {
    ($($type:ty),*) => {
        $(impl Returned for $type {
            fn to_text(&self) -> String {
                self.to_string()
            }
        })*
    };
}
returned!(usize, i32, &str, String, SockAddr);

impl Returned for () {
    fn to_text(&self) -> String {
        "ok".into()
    }
}

impl Returned for UniqueFd {
    fn to_text(&self) -> String {
        "ok".into()
    }
}

/// Bytes as text in quotes, what cannot be printed as escapes.
pub fn text(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

pub(crate) fn title(name: &str, sentence: &str) {
    line(format_args!("{BOLD}{name}{BOLD:#}  {sentence}"));
}

pub(crate) fn verdict(id: &str, verdict: &Verdict, observed: &str) {
    let statement = claims::find(id).map_or("(not in claims.tsv)", |claim| claim.statement);
    line(format_args!("  {DIM}claim {DIM:#}  {id}: {statement}"));
    line(format_args!("            {BOLD}{verdict}{BOLD:#}: {observed}"));
}

/// Where an expectation failed, the experiment was not the one that answers the claim.
pub(crate) fn no_verdict(id: &str) {
    line(format_args!("  {DIM}claim {DIM:#}  {id}: {BAD}no verdict{BAD:#}, for a check failed"));
}

pub(crate) fn summary(tally: &Tally, run_ok: bool) {
    let (checks, failed) = (tally.checks, tally.failed);
    match (failed, run_ok) {
        (0, true) => line(format_args!("  {checks} checks, {GOOD}{checks} ok{GOOD:#}")),
        (0, false) => line(format_args!("  {checks} checks ok, but the run {BAD}FAILED{BAD:#}")),
        _ => line(format_args!("  {checks} checks, {BAD}{failed} FAILED{BAD:#}")),
    }
}

/// Where a role is that has not ended yet.
pub(crate) fn still(role: &str, what: impl Display) {
    line(format_args!("  {DIM}{role:<6}{DIM:#}  still {what}"));
}

/// Something that went wrong with the run itself.
pub(crate) fn trouble(what: impl Display) {
    line(format_args!("  {BAD}FAILED{BAD:#}  {what}"));
}

/// One line to standard output. A reader who has gone away is no reason to panic.
fn line(text: fmt::Arguments) {
    let _ = writeln!(anstream::stdout(), "{text}");
}
