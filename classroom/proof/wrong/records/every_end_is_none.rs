//! refused: "an end inside a record was taken for a clean end"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

type Record = ([u8; 32], [u8; 96]);

fn recv_record(fd: RawFd) -> io::Result<Option<Record>> {
    let mut record = [0; 128];
    let mut got = 0;
    while got < record.len() {
        let rest = &mut record[got..];
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            1.. => got += n as usize,
            0 if got == 32 => return Err(ErrorKind::UnexpectedEof.into()),
            0 => return Ok(None),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    let (mut header, mut body) = ([0; 32], [0; 96]);
    header.copy_from_slice(&record[..32]);
    body.copy_from_slice(&record[32..]);
    Ok(Some((header, body)))
}

fn main() -> ExitCode {
    grader::records::grade(recv_record)
}
