//! Lines of 80 bytes: one sender that is always ahead, and several ways to read them.

use std::hint::black_box;
use std::io::{self, BufRead, BufReader};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures_util::StreamExt;
use speed::line::LineReader;
use tcp_stream_io::stream::send_all;
use tcp_stream_io::{UniqueFd, sys};
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::frames::{RAW, SPINS, raw_count};
use crate::measure::{Case, Sample};
use crate::threads::{Clock, pair, two_roles};
use crate::tokio_peer;

pub const SECTION: &str = "lines";
pub const METRIC: &str = "MB/s";
/// Of the busier side.
pub const CPU: &str = "ns of CPU a line";
/// A line's bytes, its newline included.
pub const LINE: usize = 80;
/// As many lines as fit into one segment of the loopback.
const LINES: usize = 65_483 / LINE;

const BYTES: &str = "a byte at a time";

type Receive = fn(UniqueFd) -> io::Result<u64>;

/// Each returns how many lines came.
const PEERS: [(&str, Receive); 9] = [
    (BYTES, byte_at_a_time),
    ("std 8 KiB", read_until::<8192>),
    ("std 64 KiB", read_until::<65_536>),
    ("LinesCodec 8 KiB", lines_codec::<8192>),
    ("LinesCodec 64 KiB", lines_codec::<65_536>),
    ("ours", ours),
    ("ours, never spins", ours_spinning::<0>),
    ("ours, spins", ours_spinning::<SPINS>),
    (RAW, raw),
];

pub fn cases(cores: [usize; 2]) -> Vec<Case> {
    PEERS.map(|peer| case(cores, peer)).into()
}

fn case(cores: [usize; 2], (peer, receive): (&'static str, Receive)) -> Case {
    let run = move |time: Duration| {
        let segment = line().repeat(LINES);
        let (sender, receiver) = pair()?;
        if peer == BYTES {
            // What is on the way when the time is over would take it seconds to read.
            sys::set_option(&sender, libc::SOL_SOCKET, libc::SO_SNDBUF, 64 * 1024)?;
            sys::set_option(&receiver, libc::SOL_SOCKET, libc::SO_RCVBUF, 64 * 1024)?;
        }
        let sending = || {
            let mut clock = Clock::new(1, time);
            while clock.more() {
                send_all(&sender, &segment)?;
            }
            drop(sender);
            Ok(clock.calls * LINES as u64)
        };
        let (sent, received, took) = two_roles(cores, sending, || receive(receiver))?;
        if sent != received {
            return Err(io::Error::other(format!("{sent} lines sent, {received} received")));
        }
        let bytes = (received * LINE as u64) as f64;
        let rate = bytes / took.wall.as_secs_f64() / 1e6;
        let cpu = took.cpu.as_nanos() as f64 / received as f64;
        let mut values = vec![(METRIC, rate), (CPU, cpu)];
        values.truncate(if peer == RAW { 1 } else { 2 }); // its receiver never sleeps
        Ok(Sample { values, contended: took.contended })
    };
    Case { section: SECTION, peer: peer.into(), x: LINE, rounds: u32::MAX, run: Box::new(run) }
}

pub fn line() -> [u8; LINE] {
    let mut line = [b'x'; LINE];
    line[LINE - 1] = b'\n';
    line
}

/// The article's `recv_line`, without its limit.
fn byte_at_a_time(fd: UniqueFd) -> io::Result<u64> {
    let (mut line, mut byte, mut lines) = (Vec::new(), [0], 0);
    while sys::recv(&fd, &mut byte, 0)? > 0 {
        if byte[0] == b'\n' {
            black_box(&line);
            line.clear();
            lines += 1;
        } else {
            line.push(byte[0]);
        }
    }
    Ok(lines)
}

fn read_until<const N: usize>(fd: UniqueFd) -> io::Result<u64> {
    let mut stream = BufReader::with_capacity(N, TcpStream::from(OwnedFd::from(fd)));
    let (mut line, mut lines) = (Vec::new(), 0);
    while stream.read_until(b'\n', &mut line)? > 0 {
        black_box(&line);
        line.clear();
        lines += 1;
    }
    Ok(lines)
}

fn lines_codec<const N: usize>(fd: UniqueFd) -> io::Result<u64> {
    tokio_peer::block_on(async {
        let codec = LinesCodec::new_with_max_length(4096);
        let mut stream = FramedRead::with_capacity(tokio_peer::stream(fd)?, codec, N);
        let mut lines = 0;
        while let Some(line) = stream.next().await {
            black_box(line.map_err(io::Error::other)?);
            lines += 1;
        }
        Ok(lines)
    })
}

fn ours(fd: UniqueFd) -> io::Result<u64> {
    count(LineReader::new(&fd, 4096))
}

fn ours_spinning<const N: u32>(fd: UniqueFd) -> io::Result<u64> {
    let mut stream = LineReader::new(&fd, 4096);
    stream.set_spins(N);
    count(stream)
}

fn count(mut stream: LineReader<'_>) -> io::Result<u64> {
    let mut lines = 0;
    while let Some(line) = stream.next_line()? {
        black_box(line);
        lines += 1;
    }
    Ok(lines)
}

/// Counts the lines for which the bytes are enough.
fn raw(fd: UniqueFd) -> io::Result<u64> {
    Ok(raw_count(&fd)? / LINE as u64)
}
