//! Many frames a call: `FrameWriter` gathers them, `FrameReader` lends them. Article 3.1, 11.2.
//!
//! The bytes on the wire are those of [`length`](tcp_stream_io::framing::length). What changes is how
//! many system calls and segments they take. [`steps`](crate::steps) goes there one reason at a time,
//! and `docs/speed.md` has what each is worth.
//!
//! All that is rare in a frame's way has a function of its own, marked `#[cold]`: so the way of nearly
//! all frames is short enough to stand in the caller's loop.

use std::hint::assert_unchecked;
use std::io::{self, ErrorKind};
use std::time::Instant;

use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{decode_header, encode_header};

use crate::failed::Failed;
use crate::gather::send_both;
use crate::inbox::{Inbox, Lent};

/// What the largest segment carries on the loopback, over IPv4. Batches are a multiple of it, to the
/// byte: one byte more would leave a runt segment after each batch.
const SEGMENT: usize = 65_483;

/// What one `send` takes.
const BATCH: usize = 8 * SEGMENT;
const _: () = assert!(BATCH.is_multiple_of(SEGMENT));

/// What one `recv` takes, unless a single frame is longer.
const RECEIVE: usize = 4 * SEGMENT;

const HEADER: usize = 4;

/// Gathers frames in a buffer and sends it when it is full, perhaps in the middle of a frame, or at
/// [`flush`](Self::flush).
///
/// One `send` for many frames is nearly the whole gain. The price: nothing leaves before the buffer
/// is full, so a request that waits for its answer must be flushed. Dropping does not flush, for
/// it could not report an error.
#[derive(Debug)]
pub struct FrameWriter<'fd> {
    fd: &'fd UniqueFd,
    cap: usize,
    until: Option<Instant>,
    buf: Vec<u8>,
    /// So many bytes of `buf` wait to be sent.
    end: usize,
    failed: Failed,
}

impl<'fd> FrameWriter<'fd> {
    /// A writer of frames of up to `cap` bytes of payload.
    pub fn new(fd: &'fd UniqueFd, cap: usize) -> FrameWriter<'fd> {
        let cap = cap.min(u32::MAX as usize); // what a header can say
        FrameWriter { fd, cap, until: None, buf: Vec::new(), end: 0, failed: Failed::default() }
    }

    /// From now on `TimedOut` once the deadline has passed; `None`: wait for ever. The clock is
    /// asked before each `send`; what fits into the buffer needs none.
    pub fn set_deadline(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    /// Adds one frame. `InvalidInput`: the payload is over the cap, and nothing was added. Any
    /// other error stays: how much of the stream has left is unknown by then.
    #[inline]
    pub fn write_frame(&mut self, payload: &[u8]) -> io::Result<()> {
        // SAFETY: `end` bytes of `buf` are in use, so there are as many.
        unsafe { assert_unchecked(self.end <= self.buf.len()) };
        match put(&mut self.buf[self.end..], payload, self.cap) {
            Some(need) => self.end += need,
            None => self.write_parts(payload)?,
        }
        Ok(())
    }

    /// Sends what is in the buffer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.failed.check()?;
        self.send_with(&[])
    }

    /// There is no room for the whole frame, or the writer has failed, or the payload is too long.
    #[cold]
    fn write_parts(&mut self, payload: &[u8]) -> io::Result<()> {
        let header = encode_header(payload.len(), self.cap)?;
        self.failed.check()?;
        self.write(&header)?;
        self.write(payload)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let missing = BATCH - self.end;
        if bytes.len() >= missing {
            // Full: what is in the buffer and whole batches of `bytes` leave without a copy.
            let now = missing + (bytes.len() - missing) / BATCH * BATCH;
            self.send_with(&bytes[..now])?;
            bytes = &bytes[now..];
        }
        let end = self.end + bytes.len();
        if end > self.buf.len() {
            let larger = BATCH.min(2 * end);
            self.buf.reserve_exact(larger - self.buf.len());
            self.buf.resize(larger, 0);
        }
        self.buf[self.end..end].copy_from_slice(bytes);
        self.end = end;
        Ok(())
    }

    fn send_with(&mut self, more: &[u8]) -> io::Result<()> {
        let result = send_both(self.fd, &self.buf[..self.end], more, self.until);
        self.end = 0;
        result.inspect_err(|e| {
            self.failed.remember(e);
            self.buf = Vec::new(); // so there is no room, and the next frame asks `failed`
        })
    }
}

/// Puts one frame to the front of the room, and says how much of it that took. Nearly all frames go
/// this way. `None`: there is no room for the whole of it, or it is over the cap. A writer that has
/// failed has no buffer, and so no room.
#[inline]
fn put(room: &mut [u8], payload: &[u8], cap: usize) -> Option<usize> {
    let need = HEADER + payload.len();
    if need > room.len() || payload.len() > cap {
        return None;
    }
    room[..HEADER].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    copy(&mut room[HEADER..need], payload);
    Some(need)
}

/// Copies as many bytes, of which there are mostly few: 16 at a time in the caller's own loop, where
/// `memcpy` would be a call. The pieces overlap where the length is no multiple of 16.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    let len = from.len();
    if to.len() != len || !(16..=64).contains(&len) {
        return to.copy_from_slice(from);
    }
    let mut piece = |at: usize| {
        let bytes: [u8; 16] = from[at..at + 16].try_into().expect("16 bytes");
        to[at..at + 16].copy_from_slice(&bytes);
    };
    piece(0);
    if len > 32 {
        piece(16);
        piece(len - 32);
    }
    piece(len - 16);
}

/// Receives many frames with one `recv` and lends their payloads one by one, without a copy and
/// without an allocation a frame.
///
/// ```
/// # use speed::batch::FrameReader;
/// # use tcp_stream_io::{UniqueFd, framing::length::DEFAULT_CAP};
/// # fn read(conn: UniqueFd) -> std::io::Result<()> {
/// let mut frames = FrameReader::new(&conn, DEFAULT_CAP);
/// while let Some(payload) = frames.next_frame()? {
///     println!("{} bytes", payload.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FrameReader<'fd> {
    inbox: Inbox<'fd>,
    cap: usize,
}

impl<'fd> FrameReader<'fd> {
    /// A reader of frames of up to `cap` bytes of payload.
    pub fn new(fd: &'fd UniqueFd, cap: usize) -> FrameReader<'fd> {
        // Where a `usize` has 32 bits, no buffer holds the longest frame that a header can claim.
        let cap = cap.min(usize::MAX - HEADER);
        FrameReader { inbox: Inbox::new(fd), cap }
    }

    /// From now on `TimedOut` once the deadline has passed, also while data flows; `None`: wait for
    /// ever. The clock is asked before each `recv`, and once for each KiB that is lent.
    pub fn set_deadline(&mut self, until: Option<Instant>) {
        self.inbox.set_deadline(until, 0);
    }

    /// Tries so many times without waiting before it sleeps. A sleep and a wake-up cost several
    /// microseconds; a core of one's own to burn is the price of not paying them. Never where both
    /// sides share a core: the one that tries keeps the other from sending.
    ///
    /// Without this: 50 times after a `recv` of 32 KiB or more, for then a stream is flowing, and
    /// not at all after a smaller one.
    pub fn set_spins(&mut self, spins: u32) {
        self.inbox.set_spins(spins);
    }

    /// Lends the next payload. `None`: the stream ended between frames.
    ///
    /// `InvalidData`: a header claims more than `cap`. `UnexpectedEof`: the stream ended inside a
    /// frame. These and any system error stay: the next call says the same. `TimedOut` does not.
    #[inline]
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        Ok(self.next_frames()?.and_then(|mut frames| frames.next()))
    }

    /// Lends the payloads of all frames that have arrived whole, one at the least: it waits for that
    /// one only. `None` and errors as for [`next_frame`](Self::next_frame), after the frames that
    /// came before. What the iterator was not asked for comes with the next call, and so does what
    /// stands more than a KiB behind the first where there is a deadline.
    ///
    /// Whoever answers flushes the answers when the iterator ends: the next frame is not here yet.
    #[inline]
    pub fn next_frames(&mut self) -> io::Result<Option<Frames<'_>>> {
        loop {
            let ready = self.inbox.ready();
            let mut need = HEADER;
            if let Some(header) = ready.first_chunk() {
                let len = u32::from_be_bytes(*header) as usize;
                if len > self.cap {
                    return Err(self.over_the_cap());
                }
                need += len;
                if ready.len() >= need {
                    let (ready, lent) = self.inbox.lend();
                    return Ok(Some(Frames { ready, cap: self.cap, lent }));
                }
            }
            if !self.receive(need)? {
                return Ok(None);
            }
        }
    }

    #[cold]
    fn over_the_cap(&mut self) -> io::Error {
        let header = self.inbox.ready().first_chunk().expect("a header is ready");
        let error = decode_header(*header, self.cap).expect_err("it is over the cap");
        self.inbox.fail(error, 0)
    }

    /// Less than the `need` bytes of the next frame is ready. `false`: the stream has ended.
    #[cold]
    fn receive(&mut self, need: usize) -> io::Result<bool> {
        self.inbox.failed.check()?;
        if self.inbox.look(need)? {
            return Ok(true);
        }
        let have = self.inbox.arrived().len();
        let more = self.inbox.fill(need.max(RECEIVE))? > 0;
        if !more && have > 0 {
            let text = format!("the stream ended inside a frame, after {have} of {need} bytes");
            return Err(self.inbox.fail(io::Error::new(ErrorKind::UnexpectedEof, text), 0));
        }
        Ok(more)
    }
}

/// The payloads of frames that have arrived, from [`FrameReader::next_frames`].
///
/// Where the next one begins stays in a register from frame to frame. A reader that is asked for one
/// at a time has to leave it in memory, and to wait until it is back.
#[derive(Debug)]
pub struct Frames<'a> {
    ready: &'a [u8],
    cap: usize,
    lent: Lent<'a>,
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (header, rest) = self.ready.split_first_chunk()?;
        let len = u32::from_be_bytes(*header) as usize;
        if len > self.cap {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(len)?;
        self.ready = rest;
        self.lent.all_but(rest.len());
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use tcp_stream_io::sys;

    use super::*;

    #[test]
    fn no_cap_lets_a_length_and_its_header_wrap() {
        let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        assert_eq!(FrameReader::new(&fd, usize::MAX).cap.checked_add(HEADER), Some(usize::MAX));
        assert_eq!(FrameReader::new(&fd, 1000).cap, 1000);
    }
}
