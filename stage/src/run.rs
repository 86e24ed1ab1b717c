//! Runs the roles, watches the time, and counts descriptors before and after.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, panic, process, thread};

use nix::unistd::{Pid, gettid};
use tcp_stream_io::{UniqueFd, listen_on, sys};

use crate::about::{About, At};
use crate::kernel;
use crate::options::{self, Command, Role};
use crate::report::{self, Out};

/// Exit codes beside 0: an expectation failed, the command line was wrong, the time was up.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const TIME_UP: u8 = 3;

/// Connections that may wait for the server's `accept`.
const BACKLOG: i32 = 16;

/// How long a role may go on after the other one has failed.
const GRACE: Duration = Duration::from_secs(1);

thread_local! {
    /// What this thread died of.
    static PANIC: Cell<String> = const { Cell::new(String::new()) };
}

type Part = Box<dyn FnOnce(&Out) -> io::Result<()> + Send>;

/// Runs an example with two roles. The server gets a socket that listens already, the client the
/// address of it.
pub fn pair(
    about: About,
    server: fn(UniqueFd, &Out) -> io::Result<()>,
    client: fn(&At, &Out) -> io::Result<()>,
) -> ExitCode {
    start(about, true, |role| {
        let both = role.is_none();
        let here = Role::Server(At { host: "127.0.0.1".into(), port: 0 });
        let mut parts: Vec<(&'static str, Part)> = Vec::new();
        let client_at = match role.unwrap_or(here) {
            Role::Client(at) => Some(at),
            Role::Server(at) => {
                let listener = listen_on(Some(&at.host), at.port, BACKLOG)?;
                let name = sys::getsockname(&listener)?;
                let part = move |out: &Out| {
                    if !both {
                        out.note(format_args!("listens on {name}"));
                    }
                    server(listener, out)
                };
                parts.push(("server", Box::new(part)));
                both.then_some(At { port: name.port(), ..at })
            }
        };
        if let Some(at) = client_at {
            parts.push(("client", Box::new(move |out| client(&at, out))));
        }
        Ok(parts)
    })
}

/// Runs an example without a peer.
pub fn solo(about: About, part: fn(&Out) -> io::Result<()>) -> ExitCode {
    start(about, false, |role| match role {
        None => Ok(vec![("main", Box::new(part) as Part)]),
        Some(_) => Err(io::Error::other("this example has no roles")),
    })
}

fn start(
    about: About,
    roles: bool,
    cast: impl FnOnce(Option<Role>) -> io::Result<Vec<(&'static str, Part)>>,
) -> ExitCode {
    let options = match options::parse(env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            println!("{}", options::usage(&about, roles));
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("{}: {e}; see --help", about.name);
            return ExitCode::from(USAGE);
        }
    };
    report::title(about.name, &about.title());
    kernel::roles_hang_after(options.limit);
    let out = Out::new("main");
    let both_roles = options.role.is_none();
    let fds_before = kernel::open_fds();
    let started = cast(options.role).and_then(|parts| perform(parts, &out, options.limit));
    let mut failed = started.unwrap_or_else(|e| {
        report::trouble(e);
        FAILED
    });

    let fds_after = kernel::open_fds();
    if failed == 0 && fds_after != fds_before {
        report::trouble(format_args!("descriptors before {fds_before:?}, after {fds_after:?}"));
        failed = FAILED;
    }
    let tally = out.tally();
    for (id, verdict, observed) in &tally.verdicts {
        if failed == 0 && tally.failed == 0 {
            report::verdict(id, verdict, observed);
        } else {
            report::no_verdict(id);
        }
    }
    if both_roles && failed == 0 {
        let answered: Vec<&String> = tally.verdicts.iter().map(|(id, ..)| id).collect();
        let unanswered = about.claims().into_iter().find(|id| !answered.contains(&id));
        if let Some(id) = unanswered {
            report::trouble(format_args!("the header names claim {id}, but nothing answers it"));
            failed = FAILED;
        } else if tally.checks == 0 && !tally.not_here {
            report::trouble("nothing was checked");
            failed = FAILED;
        }
    }
    if let Some(path) = options.report
        && let Err(e) = tally.write_to(&path)
    {
        report::trouble(format_args!("{}: {e}", path.display()));
        failed = FAILED;
    }
    report::summary(&tally, failed == 0);
    ExitCode::from(if tally.failed > 0 { FAILED } else { failed })
}

/// Each part on a thread of its own. Returns an exit code.
fn perform(parts: Vec<(&'static str, Part)>, out: &Out, limit: Duration) -> io::Result<u8> {
    panic::set_hook(Box::new(|why| PANIC.set(why.to_string().replace(":\n", ": "))));
    let (done, finished) = mpsc::channel();
    let mut running: Vec<(&'static str, Pid)> = Vec::new();
    let mut threads = Vec::new();
    for (role, part) in parts {
        let (done, out) = (done.clone(), out.for_role(role));
        let (tell_tid, tid) = mpsc::channel();
        threads.push(thread::Builder::new().name(role.to_owned()).spawn(move || {
            let _ = tell_tid.send(gettid());
            let result = panic::catch_unwind(panic::AssertUnwindSafe(|| part(&out)));
            let result = result.unwrap_or_else(|_| Err(io::Error::other(PANIC.take())));
            let _ = done.send((role, result));
        })?);
        running.push((role, tid.recv().map_err(io::Error::other)?));
    }
    drop(done);
    let code = watch(&finished, &mut running, limit);
    if running.is_empty() {
        for thread in threads {
            let _ = thread.join();
        }
    } else {
        // A role that hangs can be neither joined nor stopped: say so and go.
        report::summary(&out.tally(), false);
        process::exit(code.into());
    }
    Ok(code)
}

fn watch(
    finished: &Receiver<(&'static str, io::Result<()>)>,
    running: &mut Vec<(&'static str, Pid)>,
    limit: Duration,
) -> u8 {
    let mut code = 0;
    let mut until = Instant::now() + limit;
    // Whoever watches is told before that, and can end it with Ctrl-C.
    let mut tell = io::stdout().is_terminal().then(|| Instant::now() + limit / 6);
    loop {
        let next = tell.map_or(until, |tell| tell.min(until));
        match finished.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok((role, result)) => {
                running.retain(|(name, _)| *name != role);
                if let Err(e) = result {
                    report::trouble(format_args!("{role}: {e}"));
                    code = FAILED;
                    until = until.min(Instant::now() + GRACE);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return code,
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => {
                for (role, tid) in running.iter() {
                    report::still(role, kernel::what_is_it_doing(*tid));
                }
                tell = None;
            }
            Err(RecvTimeoutError::Timeout) => {
                for (role, tid) in running.iter() {
                    report::trouble(format_args!("{role}: {}", kernel::what_is_it_doing(*tid)));
                }
                return if code == 0 { TIME_UP } else { code };
            }
        }
    }
}
