//! What a stream has to be read as. Slow, and obvious: the whole stream is there.

use std::io::ErrorKind;

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

/// Up to the newline, a `\r` before it dropped.
pub fn lines(stream: &[u8], cap: usize) -> Read {
    let mut lines = Vec::new();
    let mut parts: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let tail = parts.pop().expect("there is always one");
    for line in parts {
        if without_cr(line).len() > cap {
            return (lines, Some(ErrorKind::InvalidData));
        }
        lines.push(without_cr(line).to_vec());
    }
    let error = match tail {
        [] => None,
        tail if without_cr(tail).len() > cap => Some(ErrorKind::InvalidData),
        _ => Some(ErrorKind::UnexpectedEof),
    };
    (lines, error)
}

/// The same without the lines over the cap. One without an end is no error, if it is over the cap.
#[cfg(feature = "speed")]
pub fn lines_with_long_ones_skipped(stream: &[u8], cap: usize) -> Read {
    let mut parts: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').map(without_cr).collect();
    parts.pop();
    let lines = parts.into_iter().filter(|line| line.len() <= cap).map(<[u8]>::to_vec).collect();
    let tail = stream.rsplit(|byte| *byte == b'\n').next().expect("there is always one");
    let cut = !tail.is_empty() && without_cr(tail).len() <= cap;
    (lines, cut.then_some(ErrorKind::UnexpectedEof))
}

/// Where the first `n` lines end.
pub fn taken(stream: &[u8], n: usize) -> usize {
    stream.split_inclusive(|byte| *byte == b'\n').take(n).map(<[u8]>::len).sum()
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
