//! Every step moves the same bytes. They are compared with a model that is too simple to be wrong.

mod support;

use std::io::{self, ErrorKind};
use std::thread;

use speed::steps::*;
use stage::kernel;
use support::*;
use tcp_stream_io::{UniqueFd, send_all, sys};

/// What a step has to send for these payloads.
fn model(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}

/// Numbers that look random, and are the same in every run. Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let first = self.below(251);
        (0..len).map(|at| ((first + at) % 251) as u8).collect()
    }

    /// Most of them small, some of the size of a buffer or a segment, give or take a few bytes.
    fn payloads(&mut self, total: usize) -> Vec<Vec<u8>> {
        const EDGES: [usize; 6] = [0, 4096, 65_483, 65_536, 262_144, 523_864];
        let (mut payloads, mut sum) = (Vec::new(), 0);
        while sum < total {
            let len = match self.below(100) {
                0..60 => self.below(200),
                60..97 => self.below(5000),
                _ => (EDGES[self.below(6)] + self.below(9)).saturating_sub(4),
            };
            sum += 4 + len;
            payloads.push(self.bytes(len));
        }
        payloads
    }
}

/// Sends `bytes` in pieces of random sizes, while `receive` runs, and returns what it passed on.
fn through(
    bytes: &[u8],
    random: &mut Random,
    receive: impl FnOnce(&UniqueFd, &mut Vec<Vec<u8>>) -> io::Result<()>,
) -> io::Result<Vec<Vec<u8>>> {
    let (sender, receiver) = pair();
    let mut got = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            sys::set_option(&sender, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1).unwrap();
            let mut left = bytes;
            while !left.is_empty() {
                let limit = if random.below(2) == 0 { 100 } else { 200_000 };
                let (piece, rest) = left.split_at((1 + random.below(limit)).min(left.len()));
                send_all(&sender, piece).unwrap();
                left = rest;
            }
        });
        receive(&receiver, &mut got).map(|()| got)
    })
}

/// Each `send` under the name of its step.
macro_rules! senders {
    ($($step:ident),*) => {
        [$((stringify!($step), |fd: &UniqueFd, payloads: &[Vec<u8>]| {
            $step::send(fd, payloads.iter().map(|payload| &payload[..]))
        })),*]
    };
}

/// Each `receive` under the name of its step.
macro_rules! receivers {
    ($($step:ident),*) => {
        [$((stringify!($step), |fd: &UniqueFd, got: &mut Vec<Vec<u8>>| {
            $step::receive(fd, |message| got.push(message.to_vec()))
        })),*]
    };
}

type Send = fn(&UniqueFd, &[Vec<u8>]) -> io::Result<()>;
type Receive = fn(&UniqueFd, &mut Vec<Vec<u8>>) -> io::Result<()>;

const SENDERS: [(&str, Send); 4] = senders![
    frames_1_two_sends,
    frames_2_one_sendmsg,
    frames_3_many_a_send,
    frames_5_whole_segments
];
const RECEIVERS: [(&str, Receive); 3] =
    receivers![frames_1_two_sends, frames_4_many_a_recv, frames_6_try_again];
const LINES: [(&str, Receive); 3] =
    receivers![lines_1_byte_by_byte, lines_2_buffer, lines_3_one_pass];

const MB: usize = 1_000_000;

#[test]
fn every_sender_sends_the_bytes_of_the_model() {
    for (name, send) in SENDERS {
        let payloads = Random(1).payloads(12 * MB);
        let (sender, receiver) = pair();
        let mut got = vec![0; model(&payloads).len()];
        thread::scope(|scope| {
            scope.spawn(|| {
                send(&sender, &payloads).unwrap();
                sys::shutdown(&sender, libc::SHUT_WR).unwrap();
            });
            tcp_stream_io::recv_exact(&receiver, &mut got).unwrap();
            assert_eq!(sys::recv(&receiver, &mut [0], 0).unwrap(), 0, "{name}: more than that");
        });
        assert!(got == model(&payloads), "{name}: other bytes");
    }
}

#[test]
fn every_receiver_passes_on_the_frames_of_the_model() {
    for (name, receive) in RECEIVERS {
        let payloads = Random(2).payloads(12 * MB);
        let got = through(&model(&payloads), &mut Random(3), receive).unwrap();
        assert!(got == payloads, "{name}: {} frames for {}", got.len(), payloads.len());
    }
}

#[test]
fn the_writer_and_the_reader_that_a_program_uses_agree_with_the_model() {
    let payloads = Random(4).payloads(12 * MB);
    let receive = |fd: &UniqueFd, got: &mut Vec<Vec<u8>>| {
        let mut reader = speed::batch::FrameReader::new(fd, 1 << 20);
        while let Some(arrived) = reader.next_frames()? {
            got.extend(arrived.map(<[u8]>::to_vec));
        }
        Ok(())
    };
    assert!(through(&model(&payloads), &mut Random(5), receive).unwrap() == payloads);
    let (sender, receiver) = pair();
    let mut got = vec![0; model(&payloads).len()];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = speed::batch::FrameWriter::new(&sender, 1 << 20);
            payloads.iter().for_each(|payload| writer.write_frame(payload).unwrap());
            writer.flush().unwrap();
        });
        tcp_stream_io::recv_exact(&receiver, &mut got).unwrap();
    });
    assert!(got == model(&payloads));
}

#[test]
fn every_receiver_takes_a_stream_that_is_cut_anywhere() {
    let payloads = [&b"one"[..], b"", b"three"].map(<[u8]>::to_vec);
    let bytes = model(&payloads);
    let ends = [0, 7, 11, 20];
    for (name, receive) in RECEIVERS {
        for cut in 0..=bytes.len() {
            // Two pieces, the second one late: what was there by then is whole frames and a part.
            let (sender, receiver) = pair();
            let me = Receiver::this_thread();
            let mut got = Vec::new();
            thread::scope(|scope| {
                let (bytes, receiver) = (&bytes, &receiver);
                scope.spawn(move || {
                    send_all(&sender, &bytes[..cut]).unwrap();
                    kernel::wait_until_read(&sender, receiver).unwrap();
                    me.wait_until_blocked();
                    send_all(&sender, &bytes[cut..]).unwrap();
                });
                receive(receiver, &mut got).unwrap();
            });
            assert_eq!(got, payloads, "{name}, cut at {cut}");

            // And one that ends there.
            let mut got = Vec::new();
            let result = receive(&stream_of(&bytes[..cut]), &mut got);
            let whole = ends.iter().filter(|&&end| end > 0 && end <= cut).count();
            assert_eq!(got, payloads[..whole], "{name}, ends at {cut}");
            let error = (!ends.contains(&cut)).then_some(ErrorKind::UnexpectedEof);
            assert_eq!(result.err().map(|e| e.kind()), error, "{name}, ends at {cut}");
        }
    }
}

#[test]
fn every_reader_of_lines_passes_on_the_lines_of_the_model() {
    for (name, receive) in LINES {
        // A call a byte takes its time.
        let total = if name == "lines_1_byte_by_byte" { MB / 4 } else { 6 * MB };
        let (mut random, mut bytes, mut lines) = (Random(6), Vec::new(), Vec::new());
        while bytes.len() < total {
            let len = if random.below(50) == 0 { 60_000 } else { 200 };
            let mut line = random.bytes(len);
            line.truncate(random.below(len + 1));
            line.retain(|byte| !b"\r\n".contains(byte));
            bytes.extend(&line);
            bytes.extend_from_slice(if random.below(2) == 0 { b"\n" } else { b"\r\n" });
            lines.push(line);
        }
        let got = through(&bytes, &mut random, receive).unwrap();
        assert!(got == lines, "{name}: {} lines for {}", got.len(), lines.len());
    }
}

#[test]
fn every_request_has_its_answer() {
    macro_rules! check {
        ($step:ident, $total:expr) => {
            let requests = Random(7).payloads($total);
            let (asks, answers) = pair();
            let mut got = Vec::new();
            thread::scope(|scope| {
                scope.spawn(move || $step::answer(&answers).unwrap());
                let requests = requests.iter().map(|request| &request[..]);
                $step::ask(&asks, requests, |answer| got.push(answer.to_vec())).unwrap();
                drop(asks);
            });
            assert!(got == requests, stringify!($step));
            // A server that ends is not one that answers.
            let (asks, answers) = pair();
            sys::shutdown(&answers, libc::SHUT_WR).unwrap();
            let one = std::iter::once(&b"?"[..]);
            let error = $step::ask(&asks, one, |_| panic!("an answer")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, stringify!($step));
        };
    }
    check!(trips_1_two_sends, 1000); // each takes 88 ms
    check!(trips_2_nodelay, MB);
    check!(trips_3_one_send, MB);
    check!(trips_4_spinning, MB);
}
