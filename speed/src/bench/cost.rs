//! What a wrapper costs in user instructions, counted by valgrind's callgrind. The counts repeat
//! exactly, on a busy machine too.
//!
//! This program runs itself under callgrind, doing one thing N times and then 2N times: the
//! difference is N times that thing, without the start and the end of the program.

use std::ffi::c_int;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use speed::batch::{FrameReader, FrameWriter};
use speed::line::LineReader;
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame};
use tcp_stream_io::stream::{recv_exact, send_all};
use tcp_stream_io::{UniqueFd, sys};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec};

use crate::lines;
use crate::measure::{Case, Sample};
use crate::threads::pair;
use crate::tokio_peer;

pub const PAIR: &str = "send + recv";
pub const FRAME: &str = "64-byte frame";
pub const LINE: &str = "80-byte line";
pub const METRIC: &str = "instructions";
const SIZE: usize = 64;
const NO_SIGPIPE: c_int = libc::MSG_NOSIGNAL;

type Repeat = fn(u64) -> io::Result<()>;

const PEERS: [(&str, &str, Repeat); 17] = [
    (PAIR, "libc", pair_libc),
    (PAIR, "rustix", pair_rustix),
    (PAIR, "ours, sys", pair_sys),
    (PAIR, "ours, send_all + recv_exact", pair_all),
    (PAIR, "socket2", pair_socket2),
    (PAIR, "nix", pair_nix),
    (PAIR, "std", pair_std),
    (PAIR, "std, write_all + read_exact", pair_std_all),
    (FRAME, "article", frame_article),
    (FRAME, "ours", frame_ours),
    (FRAME, "ours, with a deadline", frame_deadline),
    (FRAME, "std", frame_std),
    (FRAME, "tokio-util", frame_tokio),
    (LINE, "ours", line_ours),
    (LINE, "ours, with a deadline", line_deadline),
    (LINE, "std", line_std),
    (LINE, "LinesCodec", line_codec),
];

pub fn cases(program: &Path, notes: &mut Vec<String>) -> Vec<Case> {
    if !has_valgrind() {
        notes.push("cost: there is no valgrind; `make setup` installs it".into());
        return Vec::new();
    }
    let case = |(section, peer, _): (&'static str, &str, Repeat)| {
        let (program, name) = (program.to_owned(), format!("{section}: {peer}"));
        let run = move |_: Duration| {
            let values = vec![(METRIC, instructions(&program, &name, 4000)?)];
            Ok(Sample { values, contended: false })
        };
        let x = if section == LINE { lines::LINE } else { SIZE };
        Case { section, peer: peer.into(), x, rounds: 1, run: Box::new(run) }
    };
    PEERS.map(case).into()
}

pub fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok()
}

/// Instructions of one of `n`: those of a run of `2 * n` less those of a run of `n`. The two run at
/// once, for what else runs changes no count.
pub fn instructions(program: &Path, peer: &str, n: u64) -> io::Result<f64> {
    let (twice, once) = thread::scope(|scope| {
        let twice = scope.spawn(|| count(program, peer, 2 * n));
        let once = count(program, peer, n);
        (twice.join().expect("nobody panics"), once)
    });
    Ok(twice?.saturating_sub(once?) as f64 / n as f64)
}

/// All instructions of a run of this program.
fn count(program: &Path, peer: &str, n: u64) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--repeat", peer, &n.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let total = text.lines().find_map(|line| line.split_once("Collected : "));
    match total.map(|(_, total)| total.trim().parse()) {
        Some(Ok(total)) if output.status.success() => Ok(total),
        _ => Err(io::Error::other(format!("callgrind ended with {}: {text}", output.status))),
    }
}

/// What runs under callgrind.
pub fn repeat(peer: &str, n: u64) -> io::Result<()> {
    let found = PEERS.iter().find(|(section, name, _)| format!("{section}: {name}") == peer);
    let (_, _, repeat) = found.ok_or_else(|| io::Error::other(format!("no peer {peer:?}")))?;
    repeat(n)
}

/// Sends 64 bytes and receives them, N times. A closure that does not do exactly that is an error.
fn pairs(
    n: u64,
    mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    mut recv: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut buf = [b'x'; SIZE];
    for _ in 0..n {
        if send(black_box(&buf))? != SIZE || recv(black_box(&mut buf))? != SIZE {
            return Err(io::Error::other("a short count on an empty connection"));
        }
    }
    Ok(())
}

fn pair_libc(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    let (one, other) = (one.as_raw_fd(), other.as_raw_fd());
    pairs(
        n,
        // SAFETY:
        // - `buf` is readable for its length.
        |buf| Ok(unsafe { libc::send(one, buf.as_ptr().cast(), buf.len(), NO_SIGPIPE) } as usize),
        // SAFETY:
        // - `buf` is writable for its length.
        |buf| Ok(unsafe { libc::recv(other, buf.as_mut_ptr().cast(), buf.len(), 0) } as usize),
    )
}

fn pair_rustix(n: u64) -> io::Result<()> {
    use rustix::net::{RecvFlags, SendFlags, recv, send};
    let (one, other) = pair()?;
    pairs(
        n,
        |buf| Ok(send(&one, buf, SendFlags::NOSIGNAL)?),
        |buf| Ok(recv(&other, buf, RecvFlags::empty())?.0),
    )
}

fn pair_sys(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    pairs(n, |buf| sys::send(&one, buf, sys::NO_SIGPIPE), |buf| sys::recv(&other, buf, 0))
}

fn pair_all(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    pairs(
        n,
        |buf| send_all(&one, buf).map(|()| SIZE), // they have looked at the counts themselves
        |buf| recv_exact(&other, buf).map(|()| SIZE),
    )
}

fn pair_socket2(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    let sockets = [one, other].map(|fd| socket2::Socket::from(OwnedFd::from(fd)));
    pairs(n, |buf| sockets[0].send(buf), |buf| (&sockets[1]).read(buf))
}

fn pair_nix(n: u64) -> io::Result<()> {
    use nix::sys::socket::{MsgFlags, recv, send};
    let (one, other) = pair()?;
    pairs(
        n,
        |buf| Ok(send(one.as_raw_fd(), buf, MsgFlags::MSG_NOSIGNAL)?),
        |buf| Ok(recv(other.as_raw_fd(), buf, MsgFlags::empty())?),
    )
}

fn pair_std(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    let [mut one, mut other] = [one, other].map(|fd| TcpStream::from(OwnedFd::from(fd)));
    pairs(n, |buf| one.write(buf), |buf| other.read(buf))
}

fn pair_std_all(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    let [mut one, mut other] = [one, other].map(|fd| TcpStream::from(OwnedFd::from(fd)));
    pairs(n, |buf| one.write_all(buf).map(|()| SIZE), |buf| other.read_exact(buf).map(|()| SIZE))
}

/// As many frames as one thread can send before it receives them.
const STRETCH: u64 = 2000;

fn stretches(n: u64, mut stretch: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    let mut left = n;
    while left > 0 {
        let now = left.min(STRETCH);
        stretch(now)?;
        left -= now;
    }
    Ok(())
}

fn frame_article(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    let payload = [b'x'; SIZE];
    for _ in 0..n {
        let payload = black_box(&payload[..]);
        send_all(&one, &(payload.len() as u32).to_be_bytes())?;
        send_all(&one, payload)?;
        black_box(recv_frame(&other, DEFAULT_CAP)?);
    }
    Ok(())
}

fn frame_ours(n: u64) -> io::Result<()> {
    frames_until(n, None)
}

fn frame_deadline(n: u64) -> io::Result<()> {
    frames_until(n, Some(Instant::now() + Duration::from_secs(60)))
}

fn frames_until(n: u64, until: Option<Instant>) -> io::Result<()> {
    let (one, other) = pair()?;
    let payload = [b'x'; SIZE];
    let mut writer = FrameWriter::new(&one, DEFAULT_CAP);
    let mut reader = FrameReader::new(&other, DEFAULT_CAP);
    reader.set_deadline(until);
    stretches(n, |now| {
        for _ in 0..now {
            writer.write_frame(black_box(&payload))?;
        }
        writer.flush()?;
        for _ in 0..now {
            black_box(reader.next_frame()?);
        }
        Ok(())
    })
}

fn frame_std(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    let mut writer = BufWriter::with_capacity(1 << 18, TcpStream::from(OwnedFd::from(one)));
    let mut reader = BufReader::with_capacity(1 << 18, TcpStream::from(OwnedFd::from(other)));
    let (mut payload, mut header) = ([b'x'; SIZE], [0; 4]);
    stretches(n, |now| {
        for _ in 0..now {
            let payload = black_box(&payload[..]);
            writer.write_all(&(payload.len() as u32).to_be_bytes())?;
            writer.write_all(payload)?;
        }
        writer.flush()?;
        for _ in 0..now {
            reader.read_exact(&mut header)?;
            let len = u32::from_be_bytes(header) as usize;
            reader.read_exact(payload.get_mut(..len).ok_or(io::ErrorKind::InvalidData)?)?;
            black_box(&mut payload);
        }
        Ok(())
    })
}

fn frame_tokio(n: u64) -> io::Result<()> {
    let (one, other) = pair()?;
    let payload = Bytes::from_static(&[b'x'; SIZE]);
    tokio_peer::block_on(async {
        let mut writer = FramedWrite::new(tokio_peer::stream(one)?, tokio_peer::codec());
        writer.set_backpressure_boundary(1 << 18);
        let stream = tokio_peer::stream(other)?;
        let mut reader = FramedRead::with_capacity(stream, tokio_peer::codec(), 1 << 18);
        let mut left = n;
        while left > 0 {
            let now = left.min(STRETCH);
            for _ in 0..now {
                writer.feed(black_box(payload.clone())).await?;
            }
            SinkExt::<Bytes>::flush(&mut writer).await?;
            for _ in 0..now {
                black_box(reader.next().await.transpose()?);
            }
            left -= now;
        }
        Ok(())
    })
}

/// Only what reads the lines differs; they are made once, and sent by the stretch.
fn lines() -> Vec<u8> {
    lines::line().repeat(STRETCH as usize)
}

fn send_lines(fd: &UniqueFd, lines: &[u8], count: u64) -> io::Result<()> {
    send_all(fd, &lines[..count as usize * lines::LINE])
}

fn line_ours(n: u64) -> io::Result<()> {
    lines_until(n, None)
}

fn line_deadline(n: u64) -> io::Result<()> {
    lines_until(n, Some(Instant::now() + Duration::from_secs(60)))
}

fn lines_until(n: u64, until: Option<Instant>) -> io::Result<()> {
    let ((one, other), lines) = (pair()?, lines());
    let mut reader = LineReader::new(&other, 4096);
    reader.set_deadline(until);
    stretches(n, |now| {
        send_lines(&one, &lines, now)?;
        for _ in 0..now {
            black_box(reader.next_line()?);
        }
        Ok(())
    })
}

fn line_std(n: u64) -> io::Result<()> {
    let ((one, other), lines) = (pair()?, lines());
    let mut reader = BufReader::with_capacity(1 << 16, TcpStream::from(OwnedFd::from(other)));
    let mut line = Vec::new();
    stretches(n, |now| {
        send_lines(&one, &lines, now)?;
        for _ in 0..now {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            black_box(&line);
        }
        Ok(())
    })
}

fn line_codec(n: u64) -> io::Result<()> {
    let ((one, other), lines) = (pair()?, lines());
    tokio_peer::block_on(async {
        let codec = LinesCodec::new_with_max_length(4096);
        let mut reader = FramedRead::with_capacity(tokio_peer::stream(other)?, codec, 1 << 16);
        let mut left = n;
        while left > 0 {
            let now = left.min(STRETCH);
            send_lines(&one, &lines, now)?;
            for _ in 0..now {
                let line = reader.next().await.transpose().map_err(io::Error::other)?;
                black_box(line);
            }
            left -= now;
        }
        Ok(())
    })
}
