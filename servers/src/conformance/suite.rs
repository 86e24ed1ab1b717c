//! A run: one server, and every check in its order.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::checks::{CHECKS, Check, Fault, Subject};
use super::server::{Recipe, Server};
use super::tls;

/// A server, and what is promised of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name in tables and in the list of expected failures.
    pub name: String,
    /// How to start it.
    pub recipe: Recipe,
    /// It speaks TLS.
    pub tls: bool,
    /// One frame a connection is its protocol. Otherwise that is a failed check.
    pub one_frame: bool,
    /// It promises to drop a client that is stuck inside a frame after so long.
    pub deadline: Option<Duration>,
}

/// What became of one check.
#[derive(Debug)]
pub struct Row {
    /// The check.
    pub check: &'static Check,
    /// How it came out.
    pub outcome: Outcome,
    /// How long it took.
    pub time: Duration,
}

/// How a check came out. Each says what was observed, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Outcome {
    Passed(String),
    Failed(String),
    NotApplicable(String),
}

/// What a whole run found.
#[derive(Debug)]
pub struct Findings {
    /// A row a check, in their order.
    pub rows: Vec<Row>,
    /// It took one frame a connection.
    pub one_frame: bool,
}

/// How long a client waits for anything, unless `begin` says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A thousand connections need more descriptors than the usual 1024. The server inherits it.
pub fn allow_many_descriptors() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(4096)), hard)?)
}

/// Runs all checks, or `echo`, `many` and those that are named in `only`.
///
/// `begin` is called before each, and says how long a client waits for anything in it, before it
/// calls itself unserved. The error says, in one line, why the server does not start.
pub fn run(
    plan: &Plan,
    only: &[String],
    mut begin: impl FnMut(&Check) -> Duration,
) -> Result<Findings, String> {
    let mut subject = Subject {
        server: Server::start(&plan.recipe)?,
        recipe: plan.recipe.clone(),
        patience: PATIENCE,
        tls: if plan.tls { Some(tls::config()?) } else { None },
        one_frame: plan.one_frame,
        one_frame_is_meant: plan.one_frame,
        deadline: plan.deadline,
    };
    let mut rows: Vec<Row> = Vec::new();
    let wanted = |check: &&Check| {
        only.is_empty()
            || ["echo", "many"].contains(&check.id)
            || only.iter().any(|o| o == check.id)
    };
    for check in CHECKS.iter().filter(wanted) {
        subject.patience = begin(check);
        let from = Instant::now();
        let hopeless = rows.first().is_some_and(|row| matches!(row.outcome, Outcome::Failed(_)));
        let outcome = if hopeless {
            Outcome::NotApplicable("a plain echo fails already".into())
        } else {
            run_one(check, &mut subject)
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        rows.push(Row { check, outcome, time: from.elapsed() });
        // Each check finds a server that works, so that one failure is not all failures.
        let asked_to_end = subject.server.asked_to_end.is_some();
        if failed && !asked_to_end && subject.serves_another().is_err() {
            subject.restart()?;
        }
    }
    Ok(Findings { rows, one_frame: subject.one_frame })
}

/// How long a server that has crashed may take to be gone.
const TO_DIE: Duration = Duration::from_millis(100);

fn run_one(check: &Check, subject: &mut Subject) -> Outcome {
    let observed = (check.run)(subject);
    let ended = match (&observed, subject.server.asked_to_end) {
        (_, Some(_)) => None, // as it should
        (Ok(_), None) => subject.server.has_ended(),
        // It may be about to end, which tells more than the refused connection that it caused.
        (Err(Fault::NotApplicable(_)), None) => None,
        (Err(Fault::Failed(_)), None) => subject.server.wait_for_end(Instant::now() + TO_DIE),
    };
    match (observed, ended) {
        (Err(Fault::NotApplicable(why)), _) => Outcome::NotApplicable(why.into()),
        (_, Some(how)) => Outcome::Failed(how),
        (Ok(observed), None) => Outcome::Passed(observed),
        (Err(Fault::Failed(observed)), None) => Outcome::Failed(observed),
    }
}
