//! A process of its own that nothing waits for: its parent ends at once, its session is another.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(_: RawFd, _: &[u8]) -> io::Result<()> {
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                loop {
                    libc::pause();
                }
            }
            libc::_exit(0);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
