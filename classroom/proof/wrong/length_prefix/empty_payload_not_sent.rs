//! refused: "an empty payload is a frame, too"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_frame(fd: RawFd, payload: &[u8], cap: usize) -> io::Result<()> {
    let len = u32::try_from(payload.len()).map_err(|_| ErrorKind::InvalidInput)?;
    if payload.len() > cap {
        return Err(ErrorKind::InvalidInput.into());
    }
    if payload.is_empty() {
        return Ok(());
    }
    send_all(fd, &len.to_be_bytes())?;
    send_all(fd, payload)
}

fn recv_frame(fd: RawFd, cap: usize) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    match recv_up_to(fd, &mut header)? {
        0 => return Ok(None),
        4 => {}
        _ => return Err(ErrorKind::UnexpectedEof.into()),
    }
    let len = u32::from_be_bytes(header) as usize;
    if len > cap {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; len];
    if recv_up_to(fd, &mut payload)? < len {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(payload))
}

fn send_all(fd: RawFd, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            rest = &rest[n as usize..];
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

fn recv_up_to(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            1.. => got += n as usize,
            0 => break,
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
    grader::length_prefix::grade(send_frame, recv_frame)
}
