//! The readers of `speed`, which lend what they have received.

use std::io::ErrorKind;

use speed::batch::FrameReader;
use speed::line::LineReader;

use crate::source::with_stream;
use crate::{Read, model, parts, read_all};

/// `FrameReader` of `speed`.
pub fn fast_frames(input: &[u8]) {
    let Some((cuts, cap, stream)) = parts(input) else { return };
    let got = with_stream(stream, cuts, |fd| {
        let mut frames = FrameReader::new(fd, cap);
        let read = read_all(|| Ok(frames.next_frame()?.map(<[u8]>::to_vec)));
        let again = frames.next_frame().map(|frame| frame.is_some()).map_err(|e| e.kind());
        assert_eq!(again, read.1.map_or(Ok(false), Err), "the last word stays");
        read
    });
    assert_eq!(got, model::frames(stream, cap), "cap {cap}");
    let got = with_stream(stream, cuts, |fd| read_as_they_arrive(FrameReader::new(fd, cap)));
    assert_eq!(got, model::frames(stream, cap), "cap {cap}, as they arrive");
}

/// Frames up to the end of the stream, or to the first error, as many at a time as are there.
pub fn read_as_they_arrive(mut frames: FrameReader<'_>) -> Read {
    let mut payloads = Vec::new();
    loop {
        match frames.next_frames() {
            Ok(Some(arrived)) => payloads.extend(arrived.map(<[u8]>::to_vec)),
            Ok(None) => return (payloads, None),
            Err(e) => return (payloads, Some(e.kind())),
        }
    }
}

/// How a stream ends for a `FrameReader` without a cap.
pub(crate) fn first_error(stream: &[u8]) -> Option<ErrorKind> {
    with_stream(stream, 0, |fd| {
        FrameReader::new(fd, usize::MAX).next_frame().err().map(|e| e.kind())
    })
}

/// `LineReader` of `speed`; and the same, where lines that are too long are skipped.
pub fn fast_lines(input: &[u8]) {
    let Some((cuts, cap, stream)) = parts(input) else { return };
    let got = with_stream(stream, cuts, |fd| {
        let mut lines = LineReader::new(fd, cap);
        read_all(|| Ok(lines.next_line()?.map(<[u8]>::to_vec)))
    });
    assert_eq!(got, model::lines(stream, cap), "cap {cap}");
    let got = with_stream(stream, cuts, |fd| {
        let mut lines = LineReader::new(fd, cap);
        read_all(|| {
            loop {
                match lines.next_line() {
                    Err(e) if e.kind() == ErrorKind::InvalidData => {
                        if !lines.skip_line()? {
                            return Ok(None);
                        }
                    }
                    line => return Ok(line?.map(<[u8]>::to_vec)),
                }
            }
        })
    });
    assert_eq!(got, model::lines_with_long_ones_skipped(stream, cap), "cap {cap}, skipped");
}
