//! Each decoder against a slow, obvious model, on any bytes, cut in any way. A check takes bytes and
//! panics where the two differ: `make fuzz` makes up the bytes, `make test` and Miri replay a corpus.
//!
//! | check | what it asks |
//! | --- | --- |
//! | [`frames`], [`fast_frames`] | length prefix, of the reference and of `speed` |
//! | [`lines`], [`fast_lines`] | lines, likewise |
//! | [`records`], [`tlvs`] | records of 1, 3 and 8 bytes; fields in a message |
//! | [`options`] | the lab's link options, each against its own words |
//! | [`traces`] | a recorded trace: what can be read can be written, drawn and read again |
//!
//! The first byte says where the stream is cut, and which errors come in between; the second is the
//! cap. The rest is the stream; and then, in another stream, the lengths of its messages, for bytes
//! by chance are seldom a message. A short stream is cut at each byte besides, and each is read with
//! caps around the length of one of its messages, for there a cap is wrong, if it is.

#[cfg(feature = "lab")]
mod lab_checks;
mod model;
mod source;
#[cfg(feature = "speed")]
mod speed_checks;

use std::io::{self, ErrorKind};
use std::iter;
use std::time::{Duration, Instant};

use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{recv_frame, recv_frame_with_deadline};
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::framing::tlv::{Tlv, TlvError, parse_tlvs};

#[cfg(feature = "lab")]
pub use lab_checks::{options, traces};
use model::Read;
pub use source::STREAMED;
use source::{Cuts, with_stream};
#[cfg(feature = "speed")]
pub use speed_checks::{fast_frames, fast_lines, read_as_they_arrive};

/// A check.
pub type Check = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const ALL: &[(&str, Check)] = &[
    #[cfg(feature = "speed")]
    ("fast_frames", fast_frames),
    #[cfg(feature = "speed")]
    ("fast_lines", fast_lines),
    ("frames", frames),
    ("lines", lines),
    #[cfg(feature = "lab")]
    ("options", options),
    ("records", records),
    ("tlvs", tlvs),
    #[cfg(feature = "lab")]
    ("traces", traces),
];

/// Messages up to the end of the stream, or to the first error.
pub fn read_all(mut next: impl FnMut() -> io::Result<Option<Vec<u8>>>) -> Read {
    let mut messages = Vec::new();
    loop {
        match next() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(e) => return (messages, Some(e.kind())),
        }
    }
}

/// What reads a stream: the descriptor, the same stream in memory, the cap.
pub(crate) type Reader = fn(&UniqueFd, &[u8], usize) -> Read;

/// Compares what `read` makes of the input with what `expected` says, in all the ways above. `write`
/// appends one message to a stream: of this length, and otherwise as the byte says.
pub(crate) fn compare(
    input: &[u8],
    write: fn(&mut Vec<u8>, usize, u8),
    expected: fn(&[u8], usize) -> Read,
    read: Reader,
) {
    let Some((&[cuts, cap], bytes)) = input.split_first_chunk() else { return };
    for stream in readings(bytes, write) {
        for cap in caps(cap, &expected(&stream, usize::MAX).0) {
            let expected = expected(&stream, cap);
            for cuts in ways(cuts, stream.len()) {
                let got = with_stream(&stream, cuts, |fd| read(fd, &stream, cap));
                assert_eq!(got, expected, "cap {cap}, {cuts:?}");
            }
        }
    }
}

/// The bytes as a stream, and as the lengths of a stream's messages. Miri, which takes minutes, has the
/// first of all that there are several of.
fn readings(bytes: &[u8], write: fn(&mut Vec<u8>, usize, u8)) -> impl Iterator<Item = Vec<u8>> {
    let lengths = iter::once_with(move || messages(bytes, write));
    iter::once(bytes.to_vec()).chain(lengths.take(if cfg!(miri) { 0 } else { 1 }))
}

/// A well-formed stream. Two bytes are a message: its length, or which buffer it about fills, and
/// the rest. A byte that is left over: the stream lacks its last byte.
fn messages(bytes: &[u8], write: fn(&mut Vec<u8>, usize, u8)) -> Vec<u8> {
    const BUFFERS: [usize; 4] = [256, 4096, 8192, 65_536];
    let mut stream = Vec::new();
    let (pairs, left_over) = bytes.as_chunks();
    for &[len, how] in pairs.iter().take(8) {
        let len = match usize::from(len) {
            len @ ..252 => len,
            buffer => BUFFERS[buffer - 252] - 2 + usize::from(how) / 4 % 4,
        };
        write(&mut stream, len, how);
    }
    stream.truncate(stream.len().saturating_sub(left_over.len()));
    stream
}

/// The cap that was asked for; and, unless that would be long work, those around the length of one of
/// the messages.
fn caps(cap: u8, messages: &[Vec<u8>]) -> Vec<usize> {
    let mut caps = vec![usize::from(cap)];
    if !cfg!(miri) && (1..100).contains(&messages.len()) {
        let len = messages[caps[0] % messages.len()].len();
        caps.extend([len, len + 1, len.saturating_sub(1)]);
    }
    caps
}

/// As the byte says; and if the stream is short, once at each place.
fn ways(cuts: u8, len: usize) -> impl Iterator<Item = Cuts> {
    let places = if len <= 16 && !cfg!(miri) { 1..len } else { 0..0 };
    [Cuts::Pieces(cuts)].into_iter().chain(places.map(Cuts::At))
}

pub(crate) fn write_frame(stream: &mut Vec<u8>, len: usize, how: u8) {
    stream.extend((len as u32).to_be_bytes());
    stream.resize(stream.len() + len, how);
}

pub(crate) fn write_line(stream: &mut Vec<u8>, len: usize, how: u8) {
    stream.resize(stream.len() + len, b'x');
    stream.extend([&b"\n"[..], b"\r\n", b"\r\r\n", b"\rx\n"][usize::from(how) % 4]);
}

fn write_tlv(stream: &mut Vec<u8>, len: usize, how: u8) {
    let len = len.min(0xffff);
    stream.extend([how, (len / 256) as u8, len as u8]);
    stream.resize(stream.len() + len, how);
}

/// `recv_frame`, with a deadline and without.
pub fn frames(input: &[u8]) {
    compare(input, write_frame, model::frames, |fd, _, cap| read_all(|| recv_frame(fd, cap)));
    if cfg!(miri) {
        return; // which has no poll
    }
    compare(input, write_frame, model::frames, |fd, _, cap| {
        let soon = Instant::now() + Duration::from_secs(60);
        read_all(|| recv_frame_with_deadline(fd, cap, soon))
    });
}

/// A header that claims all that four bytes can say, under no cap. Where a usize has 32 bits, with
/// its own four bytes that is more than there is.
pub fn largest_claim() {
    let stream = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let is_narrow = usize::BITS == 32;
    let expected = if is_narrow { ErrorKind::InvalidData } else { ErrorKind::UnexpectedEof };
    #[cfg(feature = "speed")]
    assert_eq!(speed_checks::first_error(&stream), Some(expected));
    if is_narrow {
        // Elsewhere it would take the 4 GiB.
        let read = |fd: &UniqueFd| read_all(|| recv_frame(fd, usize::MAX));
        assert_eq!(with_stream(&stream, Cuts::Pieces(0), read).1, Some(expected));
    }
}

/// `LineReader` of the reference.
pub fn lines(input: &[u8]) {
    compare(input, write_line, model::lines, |fd, stream, cap| {
        let mut lines = LineReader::new(fd, cap);
        let read = read_all(|| lines.recv_line());
        let again = lines.recv_line().map(|line| line.is_some()).map_err(|e| e.kind());
        assert_eq!(again, read.1.map_or(Ok(false), Err), "the last word stays");
        assert!(stream[model::taken(stream, read.0.len())..].starts_with(lines.tail()), "the tail");
        read
    });
}

/// `recv_record` of three sizes.
pub fn records(input: &[u8]) {
    fn of<const N: usize>(stream: &[u8], cuts: Cuts) {
        let read = |fd: &UniqueFd| read_all(|| Ok(recv_record::<N>(fd)?.map(|it| it.to_vec())));
        assert_eq!(with_stream(stream, cuts, read), model::records(stream, N), "{N} bytes");
    }
    let Some((&[cuts, _], stream)) = input.split_first_chunk() else { return };
    for cuts in ways(cuts, stream.len()) {
        of::<1>(stream, cuts);
        of::<3>(stream, cuts);
        of::<8>(stream, cuts);
    }
}

/// `parse_tlvs`.
pub fn tlvs(input: &[u8]) {
    fn field<'a>(field: Result<Tlv<'a>, TlvError>) -> model::Field<'a> {
        field
            .map(|Tlv { kind, value }| (kind, value))
            .map_err(|TlvError { position, need, have }| (position, need, have))
    }
    // Many prefixes too: a message may be cut anywhere.
    for message in readings(input, write_tlv) {
        let cuts = if message.len() < 256 { 64 } else { 8 };
        for cut in 0..=message.len().min(cuts) {
            let message = &message[..message.len() - cut];
            assert_eq!(parse_tlvs(message).map(field).collect::<Vec<_>>(), model::tlvs(message));
        }
    }
}
