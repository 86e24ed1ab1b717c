//! Failures that are expected, because they are the lesson: `servers/expected-failures.tsv`.

use std::path::Path;
use std::{fs, io};

use super::checks::CHECKS;
use super::suite::Outcome;

/// The list that comes with the suite.
pub const BUILT_IN: &str = include_str!("../../expected-failures.tsv");

/// Which server must fail which check, and why. One a line: server, check, why.
#[derive(Debug, Default)]
pub struct Expected {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    server: String,
    check: String,
    why: String,
}

/// A check that stands for all: the server is not run.
const NOT_RUN: &str = "*";

/// What an outcome means beside what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verdict {
    Ok,
    NotApplicable,
    FailsAsExpected(String),
    /// A failure that nobody expected.
    Failed,
    /// The list says that it fails, and it does not.
    FailureDidNotCome(String),
}

impl Verdict {
    /// It is as the list has it.
    pub fn is_expected(&self) -> bool {
        !matches!(self, Verdict::Failed | Verdict::FailureDidNotCome(_))
    }
}

impl Expected {
    /// Parses a list. The error names the line.
    pub fn parse(text: &str) -> Result<Expected, String> {
        let mut expected = Expected::default();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split('\t').map(str::trim).collect();
            let [server, check, why] = words.as_slice() else {
                return Err(format!("line {}: not server TAB check TAB why", i + 1));
            };
            if *check != NOT_RUN && !CHECKS.iter().any(|c| c.id == *check) {
                return Err(format!("line {}: no check is named {check:?}", i + 1));
            }
            let [server, check, why] = [server, check, why].map(|word| (*word).to_owned());
            expected.lines.push(Line { server, check, why });
        }
        Ok(expected)
    }

    /// Reads a list from a file.
    pub fn read(path: &Path) -> io::Result<Expected> {
        let text = fs::read_to_string(path)?;
        Expected::parse(&text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// Why the server must fail the check, if it must.
    pub fn failure(&self, server: &str, check: &str) -> Option<&str> {
        let line = self.lines.iter().find(|line| line.server == server && line.check == check);
        line.map(|line| line.why.as_str())
    }

    /// The checks that the server must fail.
    pub fn failures<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a str> {
        let its = self.lines.iter().filter(move |line| line.server == server);
        its.map(|line| line.check.as_str())
    }

    /// Why the server is not run, if it is not.
    pub fn not_run(&self, server: &str) -> Option<&str> {
        self.failure(server, NOT_RUN)
    }

    /// What an outcome means for this server.
    pub fn judge(&self, server: &str, check: &str, outcome: &Outcome) -> Verdict {
        match (self.failure(server, check), outcome) {
            (Some(why), Outcome::Failed(_)) => Verdict::FailsAsExpected(why.into()),
            (Some(why), _) => Verdict::FailureDidNotCome(why.into()),
            (None, Outcome::Passed(_)) => Verdict::Ok,
            (None, Outcome::NotApplicable(_)) => Verdict::NotApplicable,
            (None, Outcome::Failed(_)) => Verdict::Failed,
        }
    }
}
