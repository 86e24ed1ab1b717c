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
//! cap. The rest is the stream.

#[cfg(feature = "lab")]
mod lab_checks;
mod model;
mod source;
#[cfg(feature = "speed")]
mod speed_checks;

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{recv_frame, recv_frame_with_deadline};
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::framing::tlv::parse_tlvs;

#[cfg(feature = "lab")]
pub use lab_checks::{options, traces};
use model::Read;
use source::with_stream;
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

/// The header of an input: how the stream is cut, the cap, and the stream.
fn parts(input: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (&[cuts, cap], stream) = input.split_first_chunk()?;
    Some((cuts, cap.into(), stream))
}

/// `recv_frame`, with a deadline and without.
pub fn frames(input: &[u8]) {
    let Some((cuts, cap, stream)) = parts(input) else { return };
    let expected = model::frames(stream, cap);
    let got = with_stream(stream, cuts, |fd| read_all(|| recv_frame(fd, cap)));
    assert_eq!(got, expected, "cap {cap}");
    if cfg!(miri) {
        return; // which has no poll
    }
    let soon = Instant::now() + Duration::from_secs(60);
    let with_deadline = |fd: &UniqueFd| read_all(|| recv_frame_with_deadline(fd, cap, soon));
    assert_eq!(with_stream(stream, cuts, with_deadline), expected, "cap {cap}, with a deadline");
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
        assert_eq!(with_stream(&stream, 0, read).1, Some(expected));
    }
}

/// `LineReader` of the reference.
pub fn lines(input: &[u8]) {
    let Some((cuts, cap, stream)) = parts(input) else { return };
    let expected = model::lines(stream, cap);
    let got = with_stream(stream, cuts, |fd| {
        let mut lines = LineReader::new(fd, cap);
        let read = read_all(|| lines.recv_line());
        let again = lines.recv_line().map(|line| line.is_some()).map_err(|e| e.kind());
        assert_eq!(again, read.1.map_or(Ok(false), Err), "the last word stays");
        assert!(stream[model::taken(stream, read.0.len())..].starts_with(lines.tail()), "the tail");
        read
    });
    assert_eq!(got, expected, "cap {cap}");
}

/// `recv_record` of three sizes.
pub fn records(input: &[u8]) {
    fn of<const N: usize>(stream: &[u8], cuts: u8) {
        let read = |fd: &UniqueFd| read_all(|| Ok(recv_record::<N>(fd)?.map(|it| it.to_vec())));
        assert_eq!(with_stream(stream, cuts, read), model::records(stream, N), "{N} bytes");
    }
    let Some((cuts, _, stream)) = parts(input) else { return };
    of::<1>(stream, cuts);
    of::<3>(stream, cuts);
    of::<8>(stream, cuts);
}

/// `parse_tlvs`.
pub fn tlvs(input: &[u8]) {
    let field = |field: &Result<_, _>| match field {
        Ok(tcp_stream_io::framing::tlv::Tlv { kind, value }) => Ok((*kind, *value)),
        Err(tcp_stream_io::framing::tlv::TlvError { position, need, have }) => {
            Err((*position, *need, *have))
        }
    };
    // Every prefix too: a message may be cut anywhere.
    for cut in 0..=input.len().min(64) {
        let message = &input[..input.len() - cut];
        let parsed: Vec<_> = parse_tlvs(message).collect();
        assert_eq!(parsed.iter().map(field).collect::<Vec<_>>(), model::tlvs(message));
    }
}
