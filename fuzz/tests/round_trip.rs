//! What one side writes the other side reads: each writer with each reader, over connections of the
//! kernel, for messages that proptest makes up, sent in any pieces and cut off at any byte.
//!
//! The cases are the same on every run. Others: `PROPTEST_RNG_SEED=7 PROPTEST_CASES=10000`.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use checks::{read_all, read_as_they_arrive};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use speed::batch::{FrameReader, FrameWriter};
use speed::line::LineReader as FastLineReader;
use tcp_stream_io::framing::length::*;
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::framing::tlv::{Tlv, TlvError, parse_tlvs};
use tcp_stream_io::{UniqueFd, send_all};

fn config() -> Config {
    let asked_for = Config::default();
    let rng_seed = match asked_for.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0),
        fixed => fixed,
    };
    Config { rng_seed, failure_persistence: None, ..asked_for }
}

/// Far enough: who reaches it hangs.
fn hang() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn pair() -> (UniqueFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    peer.set_nodelay(true).unwrap();
    (OwnedFd::from(ours).into(), peer)
}

/// All that `write` puts on the wire.
fn wire(write: impl FnOnce(&UniqueFd) + Send) -> Vec<u8> {
    let (ours, mut peer) = pair();
    thread::scope(|s| {
        s.spawn(move || write(&ours)); // and then it is closed
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// What `read` makes of these bytes. They are sent in pieces of these lengths, over and over.
fn read_from<R>(bytes: &[u8], pieces: &[usize], read: impl FnOnce(&UniqueFd) -> R) -> R {
    let (ours, mut peer) = pair();
    thread::scope(|s| {
        s.spawn(move || {
            let (mut left, mut pieces) = (bytes, pieces.iter().cycle());
            while !left.is_empty() {
                let (piece, rest) = left.split_at(left.len().min(*pieces.next().unwrap()));
                if peer.write_all(piece).is_err() {
                    return; // the reader has seen enough: an error, and then it closes
                }
                left = rest;
            }
        });
        let result = read(&ours);
        drop(ours);
        result
    })
}

/// The messages, and the error after them; `None`: a clean end.
type Got = (Vec<Vec<u8>>, Option<ErrorKind>);

/// Messages that take so many bytes on the wire, which ends after `cut`: those before it, and
/// whether it is inside one.
fn before(cut: usize, messages: &[Vec<u8>], len: impl Fn(&Vec<u8>) -> usize) -> Got {
    let (mut whole, mut at) = (Vec::new(), 0);
    for message in messages {
        if at + len(message) > cut {
            return (whole, (at < cut).then_some(ErrorKind::UnexpectedEof));
        }
        at += len(message);
        whole.push(message.clone());
    }
    (whole, None)
}

/// Mostly short ones; now and then one that no single `recv` brings.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..20),
        4 => vec(any::<u8>(), 0..2000),
        1 => (any::<u8>(), 60_000..300_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..10_usize, 10..5000_usize, 50_000..200_000_usize], 1..5)
}

/// Writes a frame, or says that it is over the cap.
type Writer = fn(&UniqueFd, &[Vec<u8>], usize) -> Vec<Result<(), ErrorKind>>;

const FRAME_WRITERS: [Writer; 4] = [
    |fd, frames, cap| {
        frames.iter().map(|frame| send_frame(fd, frame, cap).map_err(|e| e.kind())).collect()
    },
    |fd, frames, cap| {
        let send = |frame: &Vec<u8>| send_frame_with_deadline(fd, frame, cap, hang());
        frames.iter().map(|frame| send(frame).map_err(|e| e.kind())).collect()
    },
    |fd, frames, cap| {
        let mut writer = FrameWriter::new(fd, cap);
        let told = frames.iter().map(|frame| writer.write_frame(frame).map_err(|e| e.kind()));
        let told = told.collect();
        writer.flush().unwrap();
        told
    },
    |fd, frames, cap| {
        let mut writer = FrameWriter::new(fd, cap);
        writer.set_deadline(Some(hang()));
        let send = |frame: &Vec<u8>| {
            let told = writer.write_frame(frame).map_err(|e| e.kind());
            writer.flush().unwrap();
            told
        };
        frames.iter().map(send).collect()
    },
];

const FRAME_READERS: [fn(&UniqueFd, usize) -> Got; 4] = [
    |fd, cap| read_all(|| recv_frame(fd, cap)),
    |fd, cap| read_all(|| recv_frame_with_deadline(fd, cap, hang())),
    |fd, cap| {
        let mut reader = FrameReader::new(fd, cap);
        read_all(|| Ok(reader.next_frame()?.map(<[u8]>::to_vec)))
    },
    |fd, cap| {
        let mut reader = FrameReader::new(fd, cap);
        reader.set_deadline(Some(hang()));
        reader.set_spins(3);
        read_as_they_arrive(reader)
    },
];

const LINE_READERS: [fn(&UniqueFd, usize) -> Got; 2] = [
    |fd, cap| {
        let mut reader = LineReader::new(fd, cap);
        read_all(|| reader.recv_line())
    },
    |fd, cap| {
        let mut reader = FastLineReader::new(fd, cap);
        read_all(|| Ok(reader.next_line()?.map(<[u8]>::to_vec)))
    },
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn frames(
        frames in vec(message(), 0..12),
        cap in prop_oneof![Just(usize::MAX), 0..3000_usize],
        (writer, reader) in (0..4_usize, 0..4_usize),
        pieces in pieces(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut told = Vec::new();
        let bytes = wire(|fd| told = FRAME_WRITERS[writer](fd, &frames, cap));
        let refused = |frame: &Vec<u8>| frame.len() > cap;
        let expected = |frame| if refused(frame) { Err(ErrorKind::InvalidInput) } else { Ok(()) };
        prop_assert_eq!(told, frames.iter().map(expected).collect::<Vec<_>>());

        // What was refused has left no byte, and the others are whole.
        let kept: Vec<_> = frames.into_iter().filter(|frame| !refused(frame)).collect();
        let header = |frame: &Vec<u8>| (frame.len() as u32).to_be_bytes();
        let parts = kept.iter().flat_map(|frame| [header(frame).to_vec(), frame.clone()]);
        prop_assert!(bytes == parts.collect::<Vec<_>>().concat(), "the bytes on the wire");

        for cut in [bytes.len(), cut.index(bytes.len() + 1)] {
            let got = read_from(&bytes[..cut], &pieces, |fd| FRAME_READERS[reader](fd, cap));
            prop_assert!(got == before(cut, &kept, |frame| 4 + frame.len()), "cut at {}", cut);
        }
    }

    #[test]
    fn lines(
        lines in vec((message(), any::<bool>()), 0..12),
        cap in prop_oneof![Just(usize::MAX), 0..3000_usize],
        reader in 0..2_usize,
        pieces in pieces(),
        cut in any::<prop::sample::Index>(),
    ) {
        // A newline ends a line, and a `\r` at the end of one belongs to its end.
        let clean = |(mut line, cr): (Vec<u8>, bool)| {
            line.retain(|byte| *byte != b'\n');
            if line.last() == Some(&b'\r') {
                line.push(b'x');
            }
            (line, if cr { "\r\n" } else { "\n" })
        };
        let lines: Vec<_> = lines.into_iter().map(clean).collect();
        let bytes = wire(|fd| {
            for (line, end) in &lines {
                send_all(fd, line).and_then(|()| send_all(fd, end.as_bytes())).unwrap();
            }
        });
        for cut in [bytes.len(), cut.index(bytes.len() + 1)] {
            let got = read_from(&bytes[..cut], &pieces, |fd| LINE_READERS[reader](fd, cap));

            let (mut whole, mut at, mut error) = (Vec::new(), 0, None);
            for (line, end) in &lines {
                let came = (cut - at).min(line.len() + end.len());
                let is_whole = came == line.len() + end.len();
                if line.len().min(came) > cap {
                    error = Some(ErrorKind::InvalidData);
                } else if !is_whole && came > 0 {
                    error = Some(ErrorKind::UnexpectedEof);
                }
                if !is_whole || error.is_some() {
                    break;
                }
                at += came;
                whole.push(line.clone());
            }
            prop_assert!(got == (whole, error), "cut at {}", cut);
        }
    }

    #[test]
    fn records(
        records in vec(any::<[u8; 7]>(), 0..50),
        pieces in pieces(),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = wire(|fd| records.iter().for_each(|record| send_all(fd, record).unwrap()));
        let cut = cut.index(bytes.len() + 1);
        let read = |fd: &UniqueFd| read_all(|| Ok(recv_record::<7>(fd)?.map(|it| it.to_vec())));
        let got = read_from(&bytes[..cut], &pieces, read);
        let records: Vec<_> = records.iter().map(|record| record.to_vec()).collect();
        prop_assert_eq!(got, before(cut, &records, |_| 7));
    }

    #[test]
    fn tlvs(
        fields in vec((any::<u8>(), vec(any::<u8>(), 0..400)), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut message = Vec::new();
        for (kind, value) in &fields {
            message.extend([*kind, (value.len() >> 8) as u8, value.len() as u8]);
            message.extend(value);
        }
        let cut = cut.index(message.len() + 1);
        // It travels in a frame.
        let bytes = wire(|fd| send_frame(fd, &message[..cut], DEFAULT_CAP).unwrap());
        let got = read_from(&bytes, &[1000], |fd| recv_frame(fd, DEFAULT_CAP).unwrap()).unwrap();

        let (mut expected, mut position) = (Vec::new(), 0);
        for (kind, value) in &fields {
            let (have, all) = (cut - position, 3 + value.len());
            if have == 0 {
                break;
            }
            if have < all {
                let need = if have < 3 { 3 } else { all };
                expected.push(Err(TlvError { position, need, have }));
                break;
            }
            expected.push(Ok(Tlv { kind: *kind, value }));
            position += all;
        }
        prop_assert_eq!(parse_tlvs(&got).collect::<Vec<_>>(), expected);
    }
}
