//! One shell, with all that it starts in a process namespace: when it ends, or this process ends,
//! however it ends, nothing of it is left. See pid_namespaces(7).

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, pipe2};

use super::join::pidfd;
use crate::record::Host;

/// What ended a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The shell itself: `exit`.
    Shell,
    /// A signal to this process.
    Signal,
    /// The process that holds the hosts.
    World,
}

/// Keeps the signals that would end this process, for the shell to be told first. Call it before
/// the first thread begins.
pub fn hold_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Opens a shell on the host where this thread is, and waits until it, this process or the world
/// (a pidfd of who holds it) ends.
pub fn open(host: Host, signals: &SignalFd, world: Option<&OwnedFd>) -> Result<Ended> {
    let mut shell = start(host)?;
    let ended = wait(&shell, signals, world);
    if !matches!(ended, Ok(Ended::Shell)) {
        end(&mut shell)?;
    }
    shell.wait()?;
    ended
}

fn wait(shell: &Child, signals: &SignalFd, world: Option<&OwnedFd>) -> Result<Ended> {
    let shell = pidfd(shell.id() as i32)?;
    let interactive = io::stdin().is_terminal();
    loop {
        let poll_in = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![poll_in(shell.as_fd()), poll_in(signals.as_fd())];
        fds.extend(world.map(|world| poll_in(world.as_fd())));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let ready: Vec<_> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready[0] {
            return Ok(Ended::Shell);
        }
        if ready.get(2) == Some(&true) {
            return Ok(Ended::World);
        }
        while let Some(signal) = signals.read_signal()? {
            let keys = [libc::SIGINT as u32, libc::SIGQUIT as u32];
            // From the keyboard they are meant for what runs in the shell.
            if !(interactive && keys.contains(&signal.ssi_signo)) {
                return Ok(Ended::Signal);
            }
        }
    }
}

/// Asks the shell to end, so that it leaves the terminal as it was; then makes it.
fn end(shell: &mut Child) -> Result<()> {
    let pid = Pid::from_raw(shell.id() as i32);
    kill(pid, Signal::SIGHUP)?;
    let ended = pidfd(pid.as_raw())?;
    let mut fds = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(Duration::from_millis(500)).expect("it is short");
    if poll(&mut fds, patience)? == 0 {
        shell.kill()?;
    }
    Ok(())
}

fn start(host: Host) -> Result<Child> {
    let (name, color) = match host {
        Host::Client => ("client", 36),
        Host::Server => ("server", 35),
    };
    let mut command = if which("bash") { Command::new("bash") } else { Command::new("sh") };
    // This is the host's own namespace by now.
    let mut addresses = getifaddrs()?.filter(|one| one.interface_name == "eth0");
    let ipv6 =
        addresses.any(|one| one.address.is_some_and(|address| address.as_sockaddr_in6().is_some()));
    let (client, server) = if ipv6 { ("fd00::1", "fd00::2") } else { ("10.0.0.1", "10.0.0.2") };
    command.env("CLIENT", client).env("SERVER", server).env("PS1", format!("{name}$ "));
    let mut _rc = None;
    if which("bash") && io::stdin().is_terminal() {
        let rc = start_file(name, color)?;
        command.arg("--rcfile").arg(format!("/dev/fd/{}", rc.as_raw_fd())).arg("-i");
        _rc = Some(rc);
    }
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .context("a process namespace for the shell")?;
    let parent = pidfd(std::process::id() as i32)?;
    // SAFETY: between fork and exec it makes system calls only, on what the fork has copied.
    unsafe { command.pre_exec(move || settle(&parent)) };
    command.spawn().context("starting the shell")
}

/// In the child, before it becomes the shell: it dies with its parent, and sees its own processes.
fn settle(parent: &OwnedFd) -> io::Result<()> {
    // What is held here is for the parent alone.
    SigSet::empty().thread_set_mask()?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Has it ended before that?
    let mut fds = [PollFd::new(parent.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO)? != 0 {
        return Err(Errno::ESRCH.into());
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // A container may forbid it: then `ps` shows the processes of outside.
    let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none);
    Ok(())
}

/// What bash reads first: the user's own settings, then the prompt.
fn start_file(name: &str, color: u8) -> Result<OwnedFd> {
    let prompt = if std::env::var_os("NO_COLOR").is_some() {
        format!(r"{name}:\w\$ ")
    } else {
        format!(r"\[\e[1;{color}m\]{name}\[\e[0m\]:\w\$ ")
    };
    let (read, write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // Short enough for the pipe: nobody has to read yet.
    let text = format!("[ -r ~/.bashrc ] && . ~/.bashrc\nPROMPT_COMMAND=\nPS1='{prompt}'\n");
    std::fs::File::from(write).write_all(text.as_bytes())?;
    fcntl(&read, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(read)
}

fn which(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
