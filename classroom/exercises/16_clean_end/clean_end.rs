//! Read frames to the end of the stream, and tell how it ended.
//!
//! A frame is a length of four bytes, big-endian, and as many bytes of payload, 65536 at most: a
//! header that claims more is `InvalidData`, before any memory is taken for it. Put every whole
//! payload into `frames`, after what is there. Then say which end it was: `Clean` between two
//! frames, `Broken` inside one (a frame that is not whole is not put anywhere), `Reset` where the
//! peer reset the connection, wherever that was. Every other error but EINTR goes to the caller.
//!
//! Article 6. man: recv(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::clean_end::End;

/// Reads frames until there are no more.
fn clean_end(fd: RawFd, frames: &mut Vec<Vec<u8>>) -> io::Result<End> {
    // TODO: read header and payload of one frame after the other. Where was the end?
    grader::yours((fd, frames, [End::Clean, End::Broken, End::Reset]))
}

fn main() -> ExitCode {
    grader::clean_end::grade(clean_end)
}
