//! A connection that never waits: parts of frames come in, parts of answers go out.
//!
//! For an echo the answer to a frame is the frame, byte for byte. So the whole frames at the front
//! of what has arrived are the answer already: they leave from where they came in, without a copy.
//!
//! A conversation has two ends. While it goes on, [`Conn::go_on`] answers. However it stops, by a
//! bad header, a deadline or a signal, [`Conn::finish`] lets the answers arrive before the end.

use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use libc::{EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, MSG_DONTWAIT, MSG_PEEK};
use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};
use tcp_stream_io::sys::{self, NO_SIGPIPE};

use crate::wait::retry_eintr;

/// One client. Between two requests it holds no memory but this.
#[derive(Debug)]
pub struct Conn {
    fd: UniqueFd,
    /// What arrived and was not answered: answers that wait for room, then part of a frame.
    held: Vec<u8>,
    /// How many bytes at the front of `held` are answers.
    unsent: usize,
    /// The header behind the answers claims too much: nothing more is read before that is told.
    refused: bool,
    /// Our end has left. What still comes is thrown away.
    finished: bool,
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
        let (held, unsent) = (Vec::new(), 0);
        Conn { fd, held, unsent, refused: false, finished: false, ask_again: false }
    }

    /// What to wait for. A client that does not read its answers is not read from: its `send` will
    /// wait, not our memory grow. This is back-pressure.
    ///
    /// With EPOLLET the kernel tells what is new, once. Without, it looks at each descriptor that
    /// it told of once more, to see whether it has to tell again: a twentieth of all the work.
    pub fn waits_for(&self) -> c_int {
        let writes = self.unsent > 0 || self.refused;
        if writes { EPOLLOUT | EPOLLET } else { EPOLLIN | EPOLLRDHUP | EPOLLET }
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
        self.is_idle() && !self.finished && !matches!(retry_eintr(next), Ok(1))
    }

    /// Whether our end has left, and only the client's is waited for.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Something happened: goes on as far as one `recv` or `send` takes it. `shared` is where bytes
    /// arrive; what has been answered when this returns was never stored anywhere else.
    ///
    /// After an error no frame will be answered any more: [`finish`](Self::finish) it.
    /// `UnexpectedEof`: the client ended its stream inside a frame. `InvalidData`: a header claims
    /// too much. The answers to all frames before are with the kernel by then.
    pub fn go_on(&mut self, events: u32, shared: &mut [u8]) -> io::Result<Step> {
        self.ask_again = false;
        if self.unsent > 0 {
            let sent = send(&self.fd, &self.held[..self.unsent])?;
            self.unsent -= sent;
            self.forget(sent);
            self.ask_again = self.unsent == 0;
            return Ok(if self.unsent == 0 { Step::Frames(0) } else { Step::Partial });
        }
        if let (true, Some(header)) = (self.refused, self.held.first_chunk()) {
            decode_header(*header, DEFAULT_CAP)?;
        }
        let arrived = match retry_eintr(|| sys::recv(&self.fd, shared, MSG_DONTWAIT)) {
            Ok(0) if self.is_idle() => return Ok(Step::End),
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "ended inside a frame")),
            Ok(n) => &shared[..n],
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Step::Partial),
            Err(_) if self.finished => return Ok(Step::End), // how it leaves is its own affair
            Err(e) => return Err(e),
        };
        if self.finished {
            self.ask_again = true;
            return Ok(Step::Partial);
        }
        let (whole, sent) = if self.held.is_empty() {
            let (whole, sent) = answer(&self.fd, arrived)?;
            self.held.extend_from_slice(&arrived[sent..]); // most often there is nothing
            (whole, sent)
        } else {
            self.held.reserve_exact(arrived.len()); // memory follows what came, not what is claimed
            self.held.extend_from_slice(arrived);
            let (whole, sent) = answer(&self.fd, &self.held)?;
            self.forget(sent);
            (whole, sent)
        };
        self.unsent = whole.bytes - sent;
        self.refused = whole.then_refused;
        // All that was there has been taken, unless the buffer is full or the end comes after it.
        let may_be_more = arrived.len() == shared.len() || events & EPOLLRDHUP as u32 != 0;
        self.ask_again = may_be_more || self.unsent > 0 || self.refused;
        Ok(if whole.frames > 0 { Step::Frames(whole.frames) } else { Step::Partial })
    }

    /// No more frames: our end leaves after the last answer, and until the client's end what it
    /// sends is thrown away. Closed over bytes that nobody has read, the kernel would send a reset,
    /// which destroys the answers that have not arrived.
    ///
    /// `false`: close it. The client has gone, or does not take its answers, or has been waited for.
    pub fn finish(&mut self) -> bool {
        let waits = !self.finished && self.unsent == 0;
        (self.finished, self.refused, self.held) = (true, false, Vec::new());
        self.ask_again = true; // it may have been waiting for something else
        waits && sys::shutdown(&self.fd, libc::SHUT_WR).is_ok()
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

/// The whole frames at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// How many there are.
    pub frames: usize,
    /// How many bytes they have, headers included.
    pub bytes: usize,
    /// The header after them claims too much.
    pub then_refused: bool,
}

/// Finds the whole frames at the front. `InvalidData`: the first header already claims too much.
pub fn whole_frames(bytes: &[u8]) -> io::Result<Whole> {
    let mut whole = Whole { frames: 0, bytes: 0, then_refused: false };
    while let Some(header) = bytes[whole.bytes..].first_chunk() {
        match decode_header(*header, DEFAULT_CAP) {
            Ok(len) if len <= bytes.len() - whole.bytes - 4 => whole.bytes += 4 + len,
            Ok(_) => break,
            Err(e) if whole.frames == 0 => return Err(e),
            Err(_) => {
                whole.then_refused = true; // which is told when the answers have left
                break;
            }
        }
        whole.frames += 1;
    }
    Ok(whole)
}

/// Sends back the whole frames at the front of `bytes`, as far as there is room for them, and says
/// how many bytes left.
fn answer(fd: &UniqueFd, bytes: &[u8]) -> io::Result<(Whole, usize)> {
    let whole = whole_frames(bytes)?;
    let sent = if whole.bytes > 0 { send(fd, &bytes[..whole.bytes])? } else { 0 };
    Ok((whole, sent))
}

/// One `send` that does not wait. A full send buffer takes 0 bytes.
fn send(fd: &UniqueFd, bytes: &[u8]) -> io::Result<usize> {
    match retry_eintr(|| sys::send(fd, bytes, MSG_DONTWAIT | NO_SIGPIPE)) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
