//! A connection that never waits: parts of frames come in, parts of answers go out.
//!
//! For an echo the answer to a frame is the frame, byte for byte. So the whole frames at the front
//! of what has arrived are the answer already: they leave from where they came in, without a copy.

use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use libc::{EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, MSG_DONTWAIT, MSG_PEEK};
use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::sys::{self, NO_SIGPIPE};

/// One client. Between two requests it holds no memory but this.
#[derive(Debug)]
pub struct Conn {
    fd: UniqueFd,
    /// What arrived and was not answered: answers that wait for room, then part of a frame.
    held: Vec<u8>,
    /// How many bytes at the front of `held` are answers.
    unsent: usize,
    ask_again: bool,
}

/// What [`Conn::go_on`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is complete yet: a part of a frame has come, or a part of the answers has left.
    Partial,
    /// So many frames came in whole, or (0) the last of the answers has left.
    Frames(usize),
    /// The client has ended its stream, and all its answers are with the kernel.
    End,
}

impl Conn {
    /// The descriptor may be a blocking one: no call here waits.
    pub fn new(fd: UniqueFd) -> Conn {
        Conn { fd, held: Vec::new(), unsent: 0, ask_again: false }
    }

    /// What to wait for. A client that does not read its answers is not read from: its `send` will
    /// wait, not our memory grow. This is back-pressure.
    ///
    /// With EPOLLET the kernel tells what is new, once. Without, it looks at each descriptor that
    /// it told of once more, to see whether it has to tell again: a twentieth of all the work.
    pub fn waits_for(&self) -> c_int {
        if self.unsent > 0 { EPOLLOUT | EPOLLET } else { EPOLLIN | EPOLLRDHUP | EPOLLET }
    }

    /// Whether EPOLL_CTL_MOD has to make the kernel look again: it was told to wait for something
    /// else, or there may be more to do at once, and the others have their turn first.
    pub fn asks_again(&self) -> bool {
        self.ask_again
    }

    /// Whether it is between two frames, and owes nothing.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether it is idle and not even a part of the next frame has arrived.
    pub fn is_quiet(&self) -> bool {
        let next = || sys::recv(&self.fd, &mut [0], MSG_DONTWAIT | MSG_PEEK);
        self.is_idle() && !matches!(retry_eintr(next), Ok(1))
    }

    /// Something happened: goes on as far as one `recv` or `send` takes it. `shared` is where bytes
    /// arrive; what has been answered when this returns was never stored anywhere else.
    ///
    /// `UnexpectedEof`: the client ended its stream inside a frame. `InvalidData`: a header claims
    /// too much; the frames before it have been answered.
    pub fn go_on(&mut self, events: u32, shared: &mut [u8]) -> io::Result<Step> {
        self.ask_again = false;
        if self.unsent > 0 {
            let sent = send(&self.fd, &self.held[..self.unsent])?;
            self.unsent -= sent;
            self.forget(sent);
            self.ask_again = self.unsent == 0;
            return Ok(if self.unsent == 0 { Step::Frames(0) } else { Step::Partial });
        }
        let arrived = match retry_eintr(|| sys::recv(&self.fd, shared, MSG_DONTWAIT)) {
            Ok(0) if self.is_idle() => return Ok(Step::End),
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "ended inside a frame")),
            Ok(n) => &shared[..n],
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Step::Partial),
            Err(e) => return Err(e),
        };
        let frames = if self.held.is_empty() {
            let (frames, whole, sent) = answer(&self.fd, arrived)?;
            self.unsent = whole - sent;
            self.held.extend_from_slice(&arrived[sent..]); // most often there is nothing to hold
            frames
        } else {
            self.held.reserve_exact(arrived.len()); // memory follows what came, not what is claimed
            self.held.extend_from_slice(arrived);
            let (frames, whole, sent) = answer(&self.fd, &self.held)?;
            self.unsent = whole - sent;
            self.forget(sent);
            frames
        };
        // All that was there has been taken, unless the buffer is full or the end is behind it.
        let may_be_more = arrived.len() == shared.len() || events & EPOLLRDHUP as u32 != 0;
        self.ask_again = may_be_more || self.unsent > 0;
        Ok(if frames > 0 { Step::Frames(frames) } else { Step::Partial })
    }

    fn forget(&mut self, n: usize) {
        if n > 0 {
            self.held.drain(..n);
            self.held.shrink_to_fit();
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends back the whole frames at the front of `bytes`. Returns how many there are, how many bytes
/// they have, and how many of these the kernel took.
fn answer(fd: &UniqueFd, bytes: &[u8]) -> io::Result<(usize, usize, usize)> {
    let (mut frames, mut whole, mut bad) = (0, 0, None);
    while let Some(header) = bytes[whole..].first_chunk() {
        match decode_header(*header, DEFAULT_CAP) {
            Ok(len) if whole + 4 + len <= bytes.len() => whole += 4 + len,
            Ok(_) => break,
            Err(e) => {
                bad = Some(e);
                break;
            }
        }
        frames += 1;
    }
    let sent = if whole > 0 { send(fd, &bytes[..whole])? } else { 0 };
    bad.map_or(Ok((frames, whole, sent)), Err)
}

/// One `send` that does not wait. A full send buffer takes 0 bytes.
fn send(fd: &UniqueFd, bytes: &[u8]) -> io::Result<usize> {
    match retry_eintr(|| sys::send(fd, bytes, MSG_DONTWAIT | NO_SIGPIPE)) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
