//! refused: it serves with more than one thread

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn poll_two(clients: [RawFd; 2]) -> io::Result<()> {
    let threads = clients.map(|fd| std::thread::spawn(move || while let Ok(true) = echo(fd) {}));
    for thread in threads {
        thread.join().unwrap();
    }
    Ok(())
}

fn echo(fd: RawFd) -> io::Result<bool> {
    let mut piece = [0u8; 4096];
    let n = unsafe { libc::recv(fd, piece.as_mut_ptr().cast(), piece.len(), 0) };
    match n {
        0 => {
            unsafe { libc::shutdown(fd, libc::SHUT_WR) };
            Ok(false)
        }
        1.. => {
            let mut sent = 0;
            while sent < n as usize {
                let rest = &piece[sent..n as usize];
                let k =
                    unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
                if k < 0 {
                    return Err(io::Error::last_os_error());
                }
                sent += k as usize;
            }
            Ok(true)
        }
        _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> ExitCode {
    grader::poll_two::grade(poll_two)
}
