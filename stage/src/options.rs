//! The command line of an example.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::about::{About, At};
use crate::time::HANG;

pub(crate) enum Command {
    Help,
    Run(Options),
}

pub(crate) struct Options {
    pub role: Option<Role>,
    /// How long the roles may take, before the stage says where each of them hangs.
    pub limit: Duration,
    /// Where to write what was checked and answered, for a program to read.
    pub report: Option<PathBuf>,
}

pub(crate) enum Role {
    Server(At),
    Client(At),
}

const ROLES: &str = "\
  --role server|client  play one role only (a program of its own for each)
  --addr HOST:PORT      where the server listens, and the client connects
";

const USAGE: &str = "\
  --limit SECONDS       say where each role hangs after so long [60]
  --report FILE         write counts and verdicts to FILE, separated by tabs
  -h, --help            this text";

/// An example without a peer has no roles, and offers none.
pub(crate) fn usage(about: &About, roles: bool) -> String {
    format!("{}\n\noptions:\n{}{USAGE}", about.header(), if roles { ROLES } else { "" })
}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;

    let (mut role, mut addr, mut limit) = (None, None, HANG);
    let mut report = None;
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("role") => role = Some(parser.value()?.string()?),
            Long("addr") => addr = Some(parser.value()?.parse::<At>()?),
            Long("limit") => match parser.value()?.parse::<u32>()? {
                0 => return Err("--limit takes at least 1 second".into()),
                seconds => limit = Duration::from_secs(seconds.into()),
            },
            Long("report") => report = Some(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    let role = match (role.as_deref(), addr) {
        (None, None) => None,
        (Some("server"), Some(at)) => Some(Role::Server(at)),
        (Some("client"), Some(at)) => Some(Role::Client(at)),
        (Some("server" | "client"), None) => return Err("--role needs --addr HOST:PORT".into()),
        (None, Some(_)) => return Err("--addr needs --role server|client".into()),
        (Some(other), _) => return Err(format!("no role {other:?}: server or client?").into()),
    };
    Ok(Command::Run(Options { role, limit, report }))
}
