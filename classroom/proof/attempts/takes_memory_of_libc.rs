//! As that, but by malloc.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    grader::send_all::grade(|_, _| {
        for _ in 0..6 << 10 {
            unsafe {
                let at = libc::malloc(1 << 20);
                if at.is_null() {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                libc::memset(at, 1, 1 << 20);
            }
        }
        Ok(())
    })
}
