//! Frames one way: one thread sends for a while, the other one reads to the end.

use std::hint::black_box;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use asynchronous_codec::LengthCodec;
use futures_util::{SinkExt, StreamExt};
use speed::batch::{FrameReader, FrameWriter};
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame, send_frame};
use tcp_stream_io::stream::{recv_some, send_all};
use tcp_stream_io::{UniqueFd, sys};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::measure::{Case, Sample};
use crate::threads::{Clock, pair, two_roles};
use crate::tokio_peer;

pub const SECTION: &str = "frames";
pub const METRIC: &str = "frames/s";
/// Of the busier side.
pub const CPU: &str = "ns of CPU a frame";
pub const SIZES: [usize; 7] = [16, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20];

/// Bytes without any meaning, as fast as the kernel moves them.
pub const RAW: &str = "raw bytes";
/// The same, but the receiver sleeps where there is nothing, so its CPU time says something; with
/// buffers of several sizes.
pub const RAW_CPU: &str = "raw bytes asleep";
/// Frames that were made before, and are sent as raw bytes are. Only the receiver looks at them, in
/// the shortest loop that finds each.
pub const READY_MADE: &str = "ready-made frames";
const SEGMENT: usize = 65_483;
/// What one send carries: segments of the loopback, filled to the byte.
const RAW_SEND: usize = 8 * SEGMENT;
const RAW_RECEIVE: usize = 4 * SEGMENT;
/// With a core to burn.
pub const SPINS: u32 = 1000;
const BUFFER: usize = 64 * 1024;
const LARGE_BUFFER: usize = 256 * 1024;

type Send = fn(UniqueFd, &[u8], &mut Clock) -> io::Result<()>;
type Receive = fn(UniqueFd, usize) -> io::Result<u64>;

/// A way to send frames and a way to receive them, which returns how many came.
pub const PEERS: [(&str, Send, Receive); 16] = [
    ("article", article_send, article_recv),
    ("gathered", gathered_send, article_recv),
    ("ours", ours_send, ours_recv),
    ("ours, never spins", ours_send, ours_recv_spinning::<0>),
    ("ours, spins", ours_send, ours_recv_spinning::<SPINS>),
    ("ours, with a deadline", ours_send, ours_recv_by_deadline),
    ("tokio-util 64 KiB", tokio_send::<BUFFER>, tokio_recv::<BUFFER>),
    ("tokio-util 256 KiB", tokio_send::<LARGE_BUFFER>, tokio_recv::<LARGE_BUFFER>),
    ("std 64 KiB", std_send::<BUFFER>, std_recv::<BUFFER>),
    ("std 256 KiB", std_send::<LARGE_BUFFER>, std_recv::<LARGE_BUFFER>),
    ("asynchronous-codec", codec_send, codec_recv),
    (RAW, raw_send::<RAW_SEND>, raw_recv),
    ("raw bytes asleep, 64 KiB", raw_send::<SEGMENT>, raw_recv_asleep::<SEGMENT>),
    ("raw bytes asleep, 256 KiB", raw_send::<RAW_SEND>, raw_recv_asleep::<RAW_RECEIVE>),
    ("raw bytes asleep, 1 MiB", raw_send::<{ 2 * RAW_SEND }>, raw_recv_asleep::<{ 2 * RAW_SEND }>),
    (READY_MADE, ready_made_send, ready_made_recv),
];

pub fn cases(cores: [usize; 2]) -> Vec<Case> {
    let each = |size| PEERS.into_iter().map(move |peer| case(cores, size, peer));
    SIZES.into_iter().flat_map(each).collect()
}

fn case(
    cores: [usize; 2],
    size: usize,
    (peer, send, receive): (&'static str, Send, Receive),
) -> Case {
    let run = move |time: Duration| {
        let payload = vec![b'x'; size];
        let (sender, receiver) = pair()?;
        let sending = || {
            let mut clock = Clock::new((1 << 18) / (size + 256), time);
            send(sender, black_box(&payload), &mut clock).map(|()| clock.calls)
        };
        let (sent, received, took) = two_roles(cores, sending, || receive(receiver, size))?;
        let raw = peer.starts_with(RAW);
        if sent != received && !raw {
            return Err(io::Error::other(format!("{sent} frames sent, {received} received")));
        }
        let rate = received as f64 / took.wall.as_secs_f64();
        let cpu = took.cpu.as_nanos() as f64 / received as f64;
        let mut values = vec![(METRIC, rate), (CPU, cpu)];
        values.truncate(if peer == RAW { 1 } else { 2 }); // its receiver never sleeps
        Ok(Sample { values, contended: took.contended })
    };
    Case { section: SECTION, peer: peer.into(), x: size, rounds: u32::MAX, run: Box::new(run) }
}

/// Two blocking sends a frame.
pub fn article_send(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    while clock.more() {
        send_all(&fd, &(payload.len() as u32).to_be_bytes())?;
        send_all(&fd, payload)?;
    }
    Ok(())
}

/// Two blocking receives a frame, and a fresh `Vec`.
fn article_recv(fd: UniqueFd, _: usize) -> io::Result<u64> {
    let mut frames = 0;
    while let Some(payload) = recv_frame(&fd, DEFAULT_CAP)? {
        black_box(payload);
        frames += 1;
    }
    Ok(frames)
}

fn gathered_send(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    while clock.more() {
        send_frame(&fd, payload, DEFAULT_CAP)?;
    }
    Ok(())
}

fn ours_send(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    let mut frames = FrameWriter::new(&fd, DEFAULT_CAP);
    while clock.more() {
        frames.write_frame(payload)?;
    }
    frames.flush()
}

fn ours_recv(fd: UniqueFd, _: usize) -> io::Result<u64> {
    count(FrameReader::new(&fd, DEFAULT_CAP))
}

/// It never comes, but the clock is asked for it.
fn ours_recv_by_deadline(fd: UniqueFd, _: usize) -> io::Result<u64> {
    let mut frames = FrameReader::new(&fd, DEFAULT_CAP);
    frames.set_deadline(Some(Instant::now() + Duration::from_secs(60)));
    count(frames)
}

fn ours_recv_spinning<const N: u32>(fd: UniqueFd, _: usize) -> io::Result<u64> {
    let mut frames = FrameReader::new(&fd, DEFAULT_CAP);
    frames.set_spins(N);
    count(frames)
}

fn count(mut frames: FrameReader<'_>) -> io::Result<u64> {
    let mut count = 0;
    while let Some(arrived) = frames.next_frames()? {
        for payload in arrived {
            black_box(payload);
            count += 1;
        }
    }
    Ok(count)
}

fn tokio_send<const N: usize>(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    let payload = tokio_util::bytes::Bytes::copy_from_slice(payload);
    tokio_peer::block_on(async {
        let mut frames = FramedWrite::new(tokio_peer::stream(fd)?, tokio_peer::codec());
        frames.set_backpressure_boundary(N);
        while clock.more() {
            frames.feed(payload.clone()).await?;
        }
        SinkExt::<tokio_util::bytes::Bytes>::flush(&mut frames).await
    })
}

fn tokio_recv<const N: usize>(fd: UniqueFd, _: usize) -> io::Result<u64> {
    tokio_peer::block_on(async {
        let stream = tokio_peer::stream(fd)?;
        let mut frames = FramedRead::with_capacity(stream, tokio_peer::codec(), N);
        let mut count = 0;
        while let Some(payload) = frames.next().await.transpose()? {
            black_box(payload);
            count += 1;
        }
        Ok(count)
    })
}

/// Its header has eight bytes and its reads 8 KiB; nothing but the write buffer can be tuned.
fn codec_send(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    let payload = tokio_util::bytes::Bytes::copy_from_slice(payload);
    tokio_peer::block_on(async {
        let stream = tokio_peer::stream(fd)?.compat();
        let mut frames = asynchronous_codec::FramedWrite::new(stream, LengthCodec);
        frames.set_send_high_water_mark(LARGE_BUFFER);
        while clock.more() {
            frames.feed(payload.clone()).await?;
        }
        SinkExt::<tokio_util::bytes::Bytes>::flush(&mut frames).await
    })
}

fn codec_recv(fd: UniqueFd, _: usize) -> io::Result<u64> {
    tokio_peer::block_on(async {
        let stream = tokio_peer::stream(fd)?.compat();
        let mut frames = asynchronous_codec::FramedRead::new(stream, LengthCodec);
        let mut count = 0;
        while let Some(payload) = frames.next().await.transpose()? {
            black_box(payload);
            count += 1;
        }
        Ok(count)
    })
}

fn std_send<const N: usize>(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(N, TcpStream::from(OwnedFd::from(fd)));
    while clock.more() {
        out.write_all(&(payload.len() as u32).to_be_bytes())?;
        out.write_all(payload)?;
    }
    out.flush()
}

fn std_recv<const N: usize>(fd: UniqueFd, size: usize) -> io::Result<u64> {
    let mut stream = BufReader::with_capacity(N, TcpStream::from(OwnedFd::from(fd)));
    let (mut header, mut payload, mut count) = ([0; 4], vec![0; size], 0);
    loop {
        match stream.read_exact(&mut header) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(count),
            result => result?,
        }
        let len = u32::from_be_bytes(header) as usize;
        let payload = payload.get_mut(..len).ok_or(ErrorKind::InvalidData)?;
        stream.read_exact(payload)?;
        black_box(payload);
        count += 1;
    }
}

/// No frames at all: what the kernel can move.
fn raw_send<const N: usize>(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    let batch = vec![b'x'; N];
    let frame = payload.len() + 4;
    let mut carried = 0;
    while clock.more() {
        carried += frame;
        while carried >= N {
            send_all(&fd, &batch)?;
            carried -= N;
        }
    }
    Ok(())
}

/// Counts the frames for which the bytes would have been enough.
fn raw_recv(fd: UniqueFd, size: usize) -> io::Result<u64> {
    Ok(raw_count(&fd)? / (size as u64 + 4))
}

fn raw_recv_asleep<const N: usize>(fd: UniqueFd, size: usize) -> io::Result<u64> {
    let (mut buf, mut bytes) = (vec![0; N], 0);
    loop {
        match recv_some(&fd, &mut buf, None)? {
            0 => return Ok(bytes / (size as u64 + 4)),
            n => bytes += n as u64,
        }
    }
}

fn ready_made_send(fd: UniqueFd, payload: &[u8], clock: &mut Clock) -> io::Result<()> {
    let frame = [&(payload.len() as u32).to_be_bytes(), payload].concat();
    // Longer than a batch by a frame: so a batch may begin anywhere inside a frame.
    let frames = frame.repeat(2 + RAW_SEND / frame.len());
    let (mut begin, mut end) = (0, 0);
    while clock.more() {
        end += frame.len();
        while end - begin >= RAW_SEND {
            send_all(&fd, &frames[begin..begin + RAW_SEND])?;
            end -= begin + RAW_SEND;
            begin = (begin + RAW_SEND) % frame.len();
            end += begin;
        }
    }
    send_all(&fd, &frames[begin..end])
}

/// Finds each frame, and does nothing with it.
fn ready_made_recv(fd: UniqueFd, size: usize) -> io::Result<u64> {
    let (mut buf, mut end, mut count) = (vec![0; RAW_RECEIVE + 4 + size], 0, 0);
    loop {
        match recv_some(&fd, &mut buf[end..][..RAW_RECEIVE], None)? {
            0 => return Ok(count),
            n => end += n,
        }
        let mut rest = &buf[..end];
        while let Some((header, after)) = rest.split_first_chunk() {
            let Some(after) = after.get(u32::from_be_bytes(*header) as usize..) else { break };
            rest = after;
            count += 1;
        }
        let start = end - rest.len();
        buf.copy_within(start..end, 0);
        end -= start;
    }
}

/// Bytes up to the end of the stream, never sleeping.
pub fn raw_count(fd: &UniqueFd) -> io::Result<u64> {
    let mut buf = vec![0; RAW_RECEIVE];
    let mut bytes = 0;
    loop {
        match sys::recv(fd, &mut buf, libc::MSG_DONTWAIT) {
            Ok(0) => return Ok(bytes),
            Ok(n) => bytes += n as u64,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}
