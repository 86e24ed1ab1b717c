//! A server under load: a program that is started, measured through `/proc`, and ended.

use std::ffi::c_int;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tcp_stream_io::sys::{self, last_errno};
use tcp_stream_io::{UniqueFd, stream};

use crate::outside;
use crate::wait::{HANG_LIMIT, retry_eintr};

/// A running server. It is killed when this is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Server {
    child: Child,
    out: ChildStdout,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Server {
    /// Starts a program with `127.0.0.1 0` and waits for its `[listen-ok]`.
    pub fn start(program: &Path) -> io::Result<Server> {
        Server::start_with(program, Stdio::null())
    }

    /// The same, with something to log to.
    pub fn start_with(program: &Path, stderr: Stdio) -> io::Result<Server> {
        let mut command = Command::new(program);
        command.args(["127.0.0.1", "0"]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(stderr);
        // SAFETY: between fork and exec, prctl is a plain system call that allocates nothing.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(last_errno()),
            });
        }
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, out, addr: nowhere };
        let line = server.read_until("\n")?;
        let addr = line.trim().strip_prefix("[listen-ok] ").and_then(|addr| addr.parse().ok());
        server.addr = addr.ok_or_else(|| {
            let text = format!("said {line:?}, not where it listens");
            io::Error::new(ErrorKind::InvalidData, text)
        })?;
        Ok(server)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it prints next, up to and including `end`.
    pub fn read_until(&mut self, end: &str) -> io::Result<String> {
        let (mut text, limit) = (Vec::new(), HANG_LIMIT.as_millis() as c_int);
        while !text.ends_with(end.as_bytes()) {
            let out = self.out.as_fd();
            if retry_eintr(|| sys::poll(out, libc::POLLIN, limit))? == 0 {
                return Err(io::Error::new(ErrorKind::TimedOut, "it prints nothing"));
            }
            let mut byte = [0];
            self.out.read_exact(&mut byte)?;
            text.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The processor time that its threads have had.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        outside::cpu_time(self.pid())
    }

    /// Bytes of memory it has touched: `/proc/PID/smaps_rollup`, which unlike `VmRSS` is exact.
    pub fn memory(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(kib.ok_or(ErrorKind::InvalidData)? * 1024)
    }

    /// Ends it with SIGTERM.
    pub fn stop(self) -> io::Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        self.wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: c_int) -> io::Result<()> {
        // SAFETY: the call takes no memory, and the child has not been waited for.
        match unsafe { libc::kill(self.child.id() as libc::pid_t, signal) } {
            0 => Ok(()),
            _ => Err(last_errno()),
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: the call takes no memory, and the child has not been waited for.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as c_int };
        if pidfd < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel has just opened `pidfd` for this call, so nobody else owns it.
        let pidfd = unsafe { UniqueFd::from_raw_fd(pidfd) };
        stream::wait_ready(&pidfd, libc::POLLIN, Some(Instant::now() + HANG_LIMIT))?;
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // does nothing once `stop` has seen its end
        let _ = self.child.wait();
    }
}
