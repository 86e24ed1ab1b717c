//! A part of an example in a process of its own: what would end or upset this one.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitCode, Output, Stdio};
use std::{env, fs, mem};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::dup2_stdin;
use tcp_stream_io::{UniqueFd, sys};

use crate::kernel;

/// The first argument of a process that plays a child.
pub(crate) const CHILD: &str = "--child";

/// What a child does: it gets the word and the descriptor that [`Child::start`] was called with.
/// The text that it returns is what [`Child::wait`] gives to the parent.
pub type Part = fn(&str, UniqueFd) -> io::Result<String>;

/// Runs `main`; or `child`, if this process was begun by [`Child::start`].
///
/// A child is the same program run again, not a fork: a fork of a process with threads may make
/// system calls only, and one with threads cannot enter a user namespace.
pub fn with_child(child: Part, main: impl FnOnce() -> ExitCode) -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [flag, word] = &args[..] else { return main() };
    if flag != CHILD {
        return main();
    }
    // SAFETY:
    // - passes an int. From now on the child ends with the thread that began it.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    match lent().and_then(|lent| child(word, lent)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            print!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// What the parent lent as descriptor 0, at a number of its own: this is its only owner, for
/// `/dev/null` takes the old place.
fn lent() -> io::Result<UniqueFd> {
    let lent = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(UniqueFd::from(lent))
}

/// A running child. Dropping it ends it.
#[must_use]
#[derive(Debug)]
pub struct Child(Option<process::Child>);

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// The text that it returned; nothing if it did not come to that.
    pub said: String,
    /// The signal that ended it.
    pub by: Option<Signal>,
}

impl Child {
    /// Starts the program's child part, which gets `word` and takes over the descriptor.
    pub fn start(word: &str, lent: UniqueFd) -> io::Result<Child> {
        Child::start_with(word, Stdio::from(OwnedFd::from(lent)))
    }

    /// As [`start`](Child::start), for a part that needs no descriptor: it gets `/dev/null`.
    pub fn start_alone(word: &str) -> io::Result<Child> {
        Child::start_with(word, Stdio::null())
    }

    fn start_with(word: &str, stdin: Stdio) -> io::Result<Child> {
        let mut command = Command::new(env::current_exe()?);
        command.args([CHILD, word]).stdin(stdin).stdout(Stdio::piped());
        Ok(Child(Some(command.spawn()?)))
    }

    /// Waits until it ends. What it failed with is the error.
    pub fn wait(mut self) -> io::Result<Ended> {
        let Some(child) = self.0.take() else { return Err(ErrorKind::NotFound.into()) };
        let Output { status, stdout, .. } = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&stdout).into_owned();
        match status.signal() {
            Some(number) => Ok(Ended { said, by: Some(Signal::try_from(number)?) }),
            None if status.success() => Ok(Ended { said, by: None }),
            None => Err(io::Error::other(said)),
        }
    }

    /// Ends it, if it has not ended by itself.
    pub fn kill(mut self) -> io::Result<Ended> {
        if let Some(child) = &mut self.0 {
            child.kill()?;
        }
        self.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a C program begins with: SIGPIPE ends the process. (Rust ignores it before `main`.)
pub fn sigpipe_kills() -> io::Result<()> {
    // SAFETY:
    // - SigDfl installs no handler.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    Ok(())
}

/// Lets this process open no descriptor more, until it is dropped: RLIMIT_NOFILE, getrlimit(2).
#[must_use]
#[derive(Debug)]
pub struct FullTable {
    soft: libc::rlim_t,
    hard: libc::rlim_t,
}

impl FullTable {
    /// From now on `accept`, `socket` and `open` say EMFILE. The lowest free number is the limit,
    /// so that one that is closed meanwhile can be opened again.
    pub fn new() -> io::Result<FullTable> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let open = kernel::open_fds();
        let free = (0..).find(|fd| !open.contains(fd)).unwrap_or_default();
        setrlimit(Resource::RLIMIT_NOFILE, free as libc::rlim_t, hard)?;
        Ok(FullTable { soft, hard })
    }
}

impl Drop for FullTable {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard);
    }
}

/// Moves this process to a network of its own, in which only the loopback is up: unshare(2).
/// As root a network namespace will do; else a user namespace comes with it, where allowed.
///
/// Only for a child: a process with more than one thread is refused.
pub fn own_network() -> io::Result<()> {
    let unshare = |flags| {
        // SAFETY:
        // - passes an int; nothing here depends on what is no longer shared.
        unsafe { libc::unshare(flags) }
    };
    if unshare(libc::CLONE_NEWNET) != 0 && unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) != 0 {
        return Err(sys::last_errno());
    }
    let mut request = interface("lo");
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    configure(libc::SIOCSIFFLAGS, &request)
}

/// Gives the loopback one more address: netdevice(7). Only in a network of one's own.
pub fn add_address(address: Ipv4Addr) -> io::Result<()> {
    let mut request = interface("lo:1");
    // SAFETY:
    // - sockaddr_in is integers, and fits into the sockaddr that the request has room for.
    request.ifr_ifru.ifru_addr = unsafe {
        let mut addr: libc::sockaddr_in = mem::zeroed();
        addr.sin_family = libc::AF_INET as libc::sa_family_t;
        addr.sin_addr.s_addr = u32::from(address).to_be();
        mem::transmute::<libc::sockaddr_in, libc::sockaddr>(addr)
    };
    configure(libc::SIOCSIFADDR, &request)
}

fn interface(name: &str) -> libc::ifreq {
    // SAFETY:
    // - ifreq is integers and a union of such, for which zero is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn configure(what: libc::c_ulong, request: &libc::ifreq) -> io::Result<()> {
    let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY:
    // - both requests read an ifreq, and `request` is one.
    match unsafe { libc::ioctl(fd.as_raw_fd(), what as _, request) } {
        0 => Ok(()),
        _ => Err(sys::last_errno()),
    }
}

/// A program's whole path, if one of the directories in PATH has it.
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| fs::metadata(file).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_twice_has_two_numbers_and_each_is_closed_once() {
        let (first, second) = (lent().unwrap(), lent().unwrap());
        assert_ne!(first.as_raw_fd(), 0);
        assert_ne!(first.as_raw_fd(), second.as_raw_fd());
        first.close().unwrap();
        second.close().unwrap();
        // Its old place is taken.
        io::stdin().as_fd().try_clone_to_owned().unwrap();
    }
}
