//! What tracing costs, measured: the same call with a tracer and without.

use std::fmt;
use std::io::PipeReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv};

use super::sockets::Ends;
use super::{Limits, Program, Run, Thread, Watch, spawn};
use crate::record::{Host, Nanos};

/// Enough for a stable mean, and over in a twentieth of a second.
const CALLS: u32 = 500;

/// How long one call takes.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// As the programs of a trace make it.
    pub traced: Duration,
    /// As they make it when nobody looks.
    pub untraced: Duration,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        let (traced, untraced) = (micros(self.traced), micros(self.untraced));
        write!(f, "{traced:.0} µs a traced call ({untraced:.1} µs without)")
    }
}

/// Measures it on a socket of the loopback: `recv` where there is nothing to read.
///
/// # Errors
/// ptrace or the filter is not allowed here.
pub fn cost() -> Result<Cost> {
    let listener = TcpListener::bind("127.0.0.1:0").context("measuring the cost of tracing")?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    let untraced = time_calls(&socket);
    let traced = {
        let (events, _nobody) = mpsc::channel();
        let limits = Limits { total: Duration::from_secs(10), quiet: Duration::ZERO };
        let mut nobody = Nobody;
        let programs = [Host::Server, Host::Client].map(nothing);
        let mut run = Run::new(programs, limits, &mut nobody, events)?;
        run.stacks = None;
        // What is to end the trace waits for the trace.
        let only = SigSet::from(Signal::SIGCHLD);
        run.signals = SignalFd::with_flags(&only, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let filter = spawn::filter()?;
        let started = spawn::start(|_| {
            spawn::apply(&filter)?;
            Ok(time_calls(&socket).as_nanos() as u64)
        })?;
        run.threads.insert(started.pid, Thread::new(Host::Server, started.pid, started.pid));
        while run.threads.contains_key(&started.pid) {
            run.drain()?;
            let wait = if run.threads.is_empty() { Duration::ZERO } else { run.decide()? };
            run.sleep(wait)?;
        }
        Duration::from_nanos(started.number().context("the filter is not allowed here")?)
    };
    Ok(Cost { traced: traced / CALLS, untraced: untraced / CALLS })
}

fn time_calls(socket: &TcpStream) -> Duration {
    let begun = Instant::now();
    for _ in 0..CALLS {
        let _ = recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT); // EAGAIN
    }
    begun.elapsed()
}

fn nothing(host: Host) -> Program {
    Program { host, command: String::new(), words: Vec::new(), enter: Box::new(|| Ok(())) }
}

struct Nobody;

impl Watch for Nobody {
    fn accept_queue(&mut self, _: Host, _: Nanos, _: (SocketAddr, u32, u32)) {}

    fn changed(&mut self, _: Host, _: Nanos, _: Option<Ends>) {}
    fn connected(&mut self, _: Host) -> bool {
        false
    }
    fn listening(&mut self) -> bool {
        false
    }
    fn output(&mut self, _: Host, _: [PipeReader; 2]) {}
}
