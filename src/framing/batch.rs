//! Many frames a call: `FrameWriter` gathers them, `FrameReader` lends them. Article 3.1, 11.2.
//!
//! The bytes on the wire are those of [`length`](super::length). What changes is how many system
//! calls and segments they take. A stream of small frames spends nearly all of its time there.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
use std::time::Instant;

use super::inbox::Inbox;
use super::length::{decode_header, encode_header};
use crate::stream;

/// What one `send` takes: four of the loopback's largest segments, to the byte.
///
/// One byte more would leave a runt behind every fourth segment, and halve the rate.
const BATCH: usize = 4 * 65_483;

const HEADER: usize = 4;

/// Gathers frames in a buffer and sends it when it is full, or at [`flush`](Self::flush).
///
/// One `send` for many frames is the whole gain: against one gathered `sendmsg` a frame, about a
/// hundred times as many frames of 64 bytes a second. The price: nothing leaves before the buffer
/// is full, so a request that waits for its answer must be flushed. Dropping does not flush, for
/// it could not report an error.
#[derive(Debug)]
pub struct FrameWriter<Fd> {
    fd: Fd,
    cap: usize,
    deadline: Option<Instant>,
    buf: Vec<u8>,
    failed: Option<(ErrorKind, String)>,
}

impl<Fd: AsFd> FrameWriter<Fd> {
    /// A writer of frames of up to `cap` bytes of payload.
    pub fn new(fd: Fd, cap: usize) -> FrameWriter<Fd> {
        FrameWriter { fd, cap, deadline: None, buf: Vec::new(), failed: None }
    }

    /// From now on `TimedOut` once `deadline` has passed; `None`: wait for ever.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Adds one frame. `InvalidInput`: the payload is over the cap, and nothing was added. Any
    /// other error stays: how much of the stream has left is unknown by then.
    pub fn write_frame(&mut self, payload: &[u8]) -> io::Result<()> {
        self.still_good()?;
        let header = encode_header(payload.len(), self.cap)?;
        self.write(&header)?;
        self.write(payload)
    }

    /// Sends what is in the buffer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.still_good()?;
        self.send_with(&[])
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let room = BATCH - self.buf.len();
        if bytes.len() >= room {
            // Full: what is in the buffer and whole batches of `bytes` leave without a copy.
            let now = room + (bytes.len() - room) / BATCH * BATCH;
            self.send_with(&bytes[..now])?;
            bytes = &bytes[now..];
        }
        self.buf.extend_from_slice(bytes);
        Ok(())
    }

    fn still_good(&self) -> io::Result<()> {
        match &self.failed {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }

    fn send_with(&mut self, more: &[u8]) -> io::Result<()> {
        let mut bufs = [IoSlice::new(&self.buf), IoSlice::new(more)];
        let result = stream::send_vectored_by(&self.fd, &mut bufs, self.deadline);
        self.buf.clear();
        result.inspect_err(|e| self.failed = Some((e.kind(), e.to_string())))
    }
}

/// Receives many frames with one `recv` and lends their payloads one by one, without a copy and
/// without an allocation a frame.
///
/// ```
/// # use tcp_stream_io::{UniqueFd, framing::batch::FrameReader, framing::length::DEFAULT_CAP};
/// # fn read(conn: UniqueFd) -> std::io::Result<()> {
/// let mut frames = FrameReader::new(conn, DEFAULT_CAP);
/// while let Some(payload) = frames.next_frame()? {
///     println!("{} bytes", payload.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FrameReader<Fd> {
    inbox: Inbox<Fd>,
    cap: usize,
}

impl<Fd: AsFd> FrameReader<Fd> {
    /// A reader of frames of up to `cap` bytes of payload.
    pub fn new(fd: Fd, cap: usize) -> FrameReader<Fd> {
        FrameReader { inbox: Inbox::new(fd), cap }
    }

    /// From now on `TimedOut` once `deadline` has passed; `None`: wait for ever.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.inbox.deadline = deadline;
    }

    /// Tries so many times without waiting before it sleeps. A sleep and a wake-up cost several
    /// microseconds; a core of one's own to burn is the price of not paying them.
    pub fn set_spins(&mut self, spins: u32) {
        self.inbox.spins = spins;
    }

    /// Lends the next payload. `None`: the stream ended between frames.
    ///
    /// `InvalidData`: a header claims more than `cap`. `UnexpectedEof`: the stream ended inside a
    /// frame. These and any system error stay: the next call says the same. `TimedOut` does not.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        self.inbox.still_good()?;
        loop {
            let bytes = self.inbox.bytes();
            let have = bytes.len();
            let mut need = HEADER;
            if let Some(header) = bytes.first_chunk() {
                need += decode_header(*header, self.cap)
                    .map_err(|e| self.inbox.fail(e.kind(), e.to_string()))?;
                if have >= need {
                    return Ok(Some(&self.inbox.take(need)[HEADER..]));
                }
            }
            if self.inbox.fill(need.max(BATCH))? == 0 {
                if have == 0 {
                    return Ok(None);
                }
                let text = format!("the stream ended inside a frame, after {have} of {need} bytes");
                return Err(self.inbox.fail(ErrorKind::UnexpectedEof, text));
            }
        }
    }
}
