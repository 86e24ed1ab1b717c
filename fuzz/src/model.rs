//! What a stream has to be read as. Slow, and obvious: the whole stream is there.

use std::io::{BufRead, ErrorKind};

/// The messages, and the error that came after them; `None`: a clean end.
pub type Read = (Vec<Vec<u8>>, Option<ErrorKind>);

/// A field; or where it begins, what it needs, and what is there.
pub type Field<'a> = Result<(u8, &'a [u8]), (usize, usize, usize)>;

/// Four bytes, big-endian, and as many bytes as they say.
pub fn frames(mut stream: &[u8], cap: usize) -> Read {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        if stream.len() < 4 {
            return (frames, Some(ErrorKind::UnexpectedEof));
        }
        let claim = stream[..4].iter().fold(0_u64, |sum, byte| sum * 256 + u64::from(*byte));
        if claim > cap as u64 {
            return (frames, Some(ErrorKind::InvalidData));
        }
        if ((stream.len() - 4) as u64) < claim {
            return (frames, Some(ErrorKind::UnexpectedEof));
        }
        let end = 4 + claim as usize;
        frames.push(stream[4..end].to_vec());
        stream = &stream[end..];
    }
    (frames, None)
}

/// What is left of a line without its end.
fn without_cr(line: &[u8]) -> &[u8] {
    if line.last() == Some(&b'\r') { &line[..line.len() - 1] } else { line }
}

/// Each up to its newline, and what comes after the last one. Not by `slice::split`: the fuzzer would
/// follow each of its comparisons, and see little else.
fn split(stream: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut parts: Vec<_> = BufRead::split(stream, b'\n').map(Result::unwrap).collect();
    let is_whole = stream.is_empty() || stream.ends_with(b"\n");
    let tail = if is_whole { Vec::new() } else { parts.pop().expect("it has bytes") };
    (parts, tail)
}

/// Up to the newline, a `\r` before it dropped.
pub fn lines(stream: &[u8], cap: usize) -> Read {
    let mut lines = Vec::new();
    let (parts, tail) = split(stream);
    for line in parts {
        if without_cr(&line).len() > cap {
            return (lines, Some(ErrorKind::InvalidData));
        }
        lines.push(without_cr(&line).to_vec());
    }
    let error = match &tail[..] {
        [] => None,
        tail if without_cr(tail).len() > cap => Some(ErrorKind::InvalidData),
        _ => Some(ErrorKind::UnexpectedEof),
    };
    (lines, error)
}

/// The same without the lines over the cap. One without an end is no error, if it is over the cap.
#[cfg(feature = "speed")]
pub fn lines_with_long_ones_skipped(stream: &[u8], cap: usize) -> Read {
    let (parts, tail) = split(stream);
    let lines = parts.iter().map(|line| without_cr(line)).filter(|line| line.len() <= cap);
    let cut = !tail.is_empty() && without_cr(&tail).len() <= cap;
    (lines.map(<[u8]>::to_vec).collect(), cut.then_some(ErrorKind::UnexpectedEof))
}

/// Where the first `n` lines end.
pub fn taken(stream: &[u8], n: usize) -> usize {
    split(stream).0.iter().take(n).map(|line| line.len() + 1).sum()
}

/// `size` bytes each.
pub fn records(stream: &[u8], size: usize) -> Read {
    let (whole, rest) = stream.split_at(stream.len() / size * size);
    let error = (!rest.is_empty()).then_some(ErrorKind::UnexpectedEof);
    (whole.chunks(size).map(<[u8]>::to_vec).collect(), error)
}

/// A byte, two bytes of length, the value.
pub fn tlvs(message: &[u8]) -> Vec<Field<'_>> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let left = message.len() - at;
        let need = match left {
            0..3 => 3,
            _ => 3 + usize::from(message[at + 1]) * 256 + usize::from(message[at + 2]),
        };
        if left < need {
            fields.push(Err((at, need, left)));
            return fields;
        }
        fields.push(Ok((message[at], &message[at + 3..at + need])));
        at += need;
    }
    fields
}
