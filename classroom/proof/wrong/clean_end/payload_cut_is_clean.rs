//! refused: "inside a payload was taken for a clean end"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::clean_end::End;

fn clean_end(fd: RawFd, frames: &mut Vec<Vec<u8>>) -> io::Result<End> {
    match read_frames(fd, frames) {
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(End::Reset),
        end => end,
    }
}

fn read_frames(fd: RawFd, frames: &mut Vec<Vec<u8>>) -> io::Result<End> {
    loop {
        let mut header = [0; 4];
        match fill(fd, &mut header)? {
            4 => {}
            0 => return Ok(End::Clean),
            _ => return Ok(End::Broken),
        }
        let mut payload = vec![0; u32::from_be_bytes(header) as usize];
        if fill(fd, &mut payload)? < payload.len() {
            return Ok(End::Clean);
        }
        frames.push(payload);
    }
}

fn fill(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        match unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) } {
            0 => break,
            n @ 1.. => got += n as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(got)
}

fn main() -> ExitCode {
    grader::clean_end::grade(clean_end)
}
