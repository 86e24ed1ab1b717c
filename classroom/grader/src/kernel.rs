//! What a process is doing, as the kernel tells it in `/proc`. man: proc(5).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use say::say;

/// One look at a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// `R` runs, `S` sleeps, `Z` has ended.
    pub state: char,
    /// It is in the answer's call, not in what the grader does before and after it.
    pub answering: bool,
    /// The system call it is in and the call's first argument, which mostly is a descriptor.
    pub call: Option<(i64, i32)>,
    /// Milliseconds after which `poll` and its like return by themselves; negative: never.
    pub timeout: Option<i32>,
    /// How often it went to sleep by itself: every sleep is one more.
    pub sleeps: u64,
    /// Processor time used, in clock ticks of 10 ms.
    pub ticks: u64,
}

/// The name of a process in the answer's call: PR_SET_NAME of prctl(2).
pub const ANSWERING: &str = "answering";

/// Looks at the main thread of `pid`.
pub fn look(pid: i32) -> io::Result<Look> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/task/{pid}/status"))?;
    // The name, in parentheses, may hold anything; the state comes after it.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse().ok()).unwrap_or(0);
    let sleeps = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0);
    let line = fs::read_to_string(format!("/proc/{pid}/syscall")).ok();
    Ok(Look {
        answering: stat.contains(&format!("({ANSWERING})")),
        state: fields.first().and_then(|f| f.chars().next()).unwrap_or('?'),
        timeout: line.as_deref().and_then(|line| timeout(pid, line)),
        call: line.as_deref().and_then(call),
        sleeps,
        ticks: number(11) + number(12),
    })
}

/// `45 0x4 0x7ffc… …` in a call, `running` outside of one.
fn call(line: &str) -> Option<(i64, i32)> {
    let mut fields = line.split_whitespace();
    let number = fields.next()?.parse().ok()?;
    let first = fields.next()?.strip_prefix("0x")?;
    Some((number, u64::from_str_radix(first, 16).ok()? as i32))
}

/// The timeout of `poll`, `select` and `epoll_wait`, in whichever form they have it.
fn timeout(pid: i32, line: &str) -> Option<i32> {
    let number = call(line)?.0;
    let argument = |n: usize| {
        let hex = line.split_whitespace().nth(n)?.strip_prefix("0x")?;
        u64::from_str_radix(hex, 16).ok()
    };
    // Seconds and a part of one; a null pointer is no timeout.
    let pointed = |at: u64, parts: i64| {
        let mut time = [0; 16];
        if at == 0 {
            return Some(-1);
        }
        File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut time, at).ok()?;
        let [seconds, part] =
            [0, 8].map(|n| i64::from_ne_bytes(time[n..n + 8].try_into().expect("eight bytes")));
        let ms = seconds.saturating_mul(1000).saturating_add((part + parts - 1) / parts);
        Some(ms.min(i32::MAX.into()) as i32)
    };
    match number {
        libc::SYS_ppoll => pointed(argument(3)?, 1_000_000),
        libc::SYS_pselect6 => pointed(argument(5)?, 1_000_000),
        libc::SYS_epoll_pwait2 => pointed(argument(4)?, 1_000_000),
        libc::SYS_epoll_pwait => Some(argument(4)? as i32),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => Some(argument(3)? as i32),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => Some(argument(4)? as i32),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => pointed(argument(5)?, 1000),
        _ => None,
    }
}

/// A system call by name, and whether its first argument is a descriptor.
pub fn name(number: i64) -> (&'static str, bool) {
    match number {
        libc::SYS_recvfrom => ("recv", true),
        libc::SYS_recvmsg => ("recvmsg", true),
        libc::SYS_sendto => ("send", true),
        libc::SYS_sendmsg => ("sendmsg", true),
        libc::SYS_read => ("read", true),
        libc::SYS_readv => ("readv", true),
        libc::SYS_write => ("write", true),
        libc::SYS_writev => ("writev", true),
        libc::SYS_accept | libc::SYS_accept4 => ("accept", true),
        libc::SYS_connect => ("connect", true),
        libc::SYS_close => ("close", true),
        libc::SYS_ppoll => ("poll", false),
        libc::SYS_pselect6 => ("select", false),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => ("epoll_wait", true),
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => ("a sleep", false),
        libc::SYS_futex => ("a wait for another thread", false),
        _ => older_name(number),
    }
}

#[cfg(target_arch = "x86_64")]
fn older_name(number: i64) -> (&'static str, bool) {
    match number {
        libc::SYS_poll => ("poll", false),
        libc::SYS_select => ("select", false),
        libc::SYS_epoll_wait => ("epoll_wait", true),
        libc::SYS_pause => ("pause", false),
        _ => ("a system call", false),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn older_name(_: i64) -> (&'static str, bool) {
    ("a system call", false)
}

impl Look {
    /// Asleep in a system call of its own.
    pub fn blocked(&self) -> bool {
        matches!(self.state, 'S' | 'D')
    }

    /// Asleep in a system call that the answer made.
    pub fn answer_waits(&self) -> bool {
        self.blocked() && self.answering && self.call.is_some()
    }

    /// Stopped by a signal.
    pub fn stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// A call that only the peer can end. The others may have a timeout of their own.
    pub fn waits_for_the_peer(&self) -> bool {
        let calls = ["recv", "send", "read", "write", "accept", "connect", "close"];
        self.blocked() && calls.iter().any(|call| self.call_name().starts_with(call))
    }

    /// A `poll` or its like without a timeout. What it waits for may be the kernel's to do, in a
    /// second or two.
    pub fn polls_for_ever(&self) -> bool {
        self.blocked() && self.timeout.is_some_and(|ms| ms < 0)
    }

    /// It sleeps until some time has passed.
    pub fn naps(&self) -> bool {
        self.blocked() && self.call_name() == "a sleep"
    }

    fn call_name(&self) -> &'static str {
        self.call.map_or("", |(number, _)| name(number).0)
    }

    /// `recv on fd 4`, for a message.
    pub fn place(&self) -> String {
        match self.call {
            Some((number, fd)) => match name(number) {
                (call, true) => say!("{call} on fd {fd}"),
                (call, false) => call.into(),
            },
            None => "a system call".into(),
        }
    }
}
