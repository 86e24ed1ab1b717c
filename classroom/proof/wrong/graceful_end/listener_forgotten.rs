//! refused: "the listener is still open after the return"

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::ptr;

fn graceful_end(listener: OwnedFd, stop: RawFd) -> io::Result<usize> {
    let mut listener = Some(listener);
    let mut served = 0;
    while let Some(open) = &listener {
        let (client, stopped) = wait(open.as_raw_fd(), stop)?;
        if stopped {
            std::mem::forget(listener.take());
            break;
        }
        if !client {
            continue;
        }
        let fd = unsafe { libc::accept(open.as_raw_fd(), ptr::null_mut(), ptr::null_mut()) };
        if fd < 0 {
            unless_interrupted()?;
            continue;
        }
        let conn = unsafe { OwnedFd::from_raw_fd(fd) };
        served += 1;
        let _ = serve(conn.as_raw_fd(), &mut listener, stop);
    }
    Ok(served)
}

fn serve(conn: RawFd, listener: &mut Option<OwnedFd>, stop: RawFd) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        let watched = if listener.is_some() { stop } else { -1 };
        let (ready, stopped) = wait(conn, watched)?;
        if stopped {
            std::mem::forget(listener.take());
        }
        if !ready {
            continue;
        }
        match unsafe { libc::recv(conn, piece.as_mut_ptr().cast(), piece.len(), 0) } {
            0 => return Ok(()),
            n @ 1.. => send_all(conn, &piece[..n as usize])?,
            _ => unless_interrupted()?,
        }
    }
}

fn wait(fd: RawFd, stop: RawFd) -> io::Result<(bool, bool)> {
    let mut fds = [fd, stop].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    if unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } < 0 {
        unless_interrupted()?;
        return Ok((false, false));
    }
    Ok((fds[0].revents != 0, fds[1].revents != 0))
}

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match n {
            0.. => sent += n as usize,
            _ => unless_interrupted()?,
        }
    }
    Ok(())
}

fn unless_interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

fn main() -> ExitCode {
    grader::graceful_end::grade(graceful_end)
}
