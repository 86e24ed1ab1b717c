//! Memory for a thousand headers that claim a whole MiB, when only a little of it comes.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use futures_util::{FutureExt, StreamExt};
use speed::batch::FrameReader;
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::stream::send_all;
use tcp_stream_io::{UniqueFd, sys};
use tokio::runtime::Runtime;
use tokio_util::codec::FramedRead;

use crate::measure::{Case, Sample};
use crate::tokio_peer;

pub const SECTION: &str = "hostile headers";
pub const METRIC: &str = "KiB of heap a connection";
/// How many bytes of payload follow the header.
pub const SIZES: [usize; 3] = [0, 1 << 10, 100 << 10];
const CONNECTIONS: usize = 1000;
const PIECE: usize = 4 << 10;

/// Reads what has arrived, so many bytes since the beginning, and keeps it.
type Reader<'fd> = Box<dyn FnMut(usize) -> io::Result<()> + 'fd>;
type Open = for<'fd> fn(&'fd UniqueFd, &'static Runtime) -> io::Result<Reader<'fd>>;

const PEERS: [(&str, Open); 3] = [("article", article), ("ours", ours), ("tokio-util", tokio_util)];

pub fn cases() -> io::Result<Vec<Case>> {
    // For as long as the program runs: its peers live in it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    let each = |size| PEERS.into_iter().map(move |peer| case(runtime, size, peer));
    Ok(SIZES.into_iter().flat_map(each).collect())
}

fn case(runtime: &'static Runtime, size: usize, (peer, open): (&str, Open)) -> Case {
    let run = move |_| {
        let pairs: Vec<_> = (0..CONNECTIONS).map(|_| pair()).collect::<io::Result<_>>()?;
        let mut readers = Vec::with_capacity(CONNECTIONS);
        let before = heap();
        for (sender, receiver) in &pairs {
            // What a reader has taken stays taken for as long as it lives.
            let mut reader = open(receiver, runtime)?;
            deceive(sender, size, &mut reader)?;
            readers.push(reader);
        }
        let each = (heap() - before) as f64 / 1024.0 / CONNECTIONS as f64;
        Ok(Sample { values: vec![(METRIC, each)], contended: false })
    };
    Case { section: SECTION, peer: peer.into(), x: size, rounds: 1, run: Box::new(run) }
}

/// Two connected sockets. Unix ones need no port each.
fn pair() -> io::Result<(UniqueFd, UniqueFd)> {
    let (sender, receiver) = UnixStream::pair()?;
    let receiver = UniqueFd::from(OwnedFd::from(receiver));
    sys::set_nonblocking(&receiver, true)?;
    Ok((UniqueFd::from(OwnedFd::from(sender)), receiver))
}

/// Announces the largest frame there may be, and sends `size` bytes of it.
fn deceive(sender: &UniqueFd, size: usize, read: &mut Reader) -> io::Result<()> {
    send_all(sender, &(DEFAULT_CAP as u32).to_be_bytes())?;
    read(4)?;
    let mut sent = 4;
    for piece in vec![b'x'; size].chunks(PIECE) {
        send_all(sender, piece)?;
        sent += piece.len();
        read(sent)?;
    }
    Ok(())
}

/// Bytes in use, small pieces and large ones. man: mallinfo2(3).
fn heap() -> usize {
    // SAFETY:
    // - takes nothing, and returns integers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// A header, then a `Vec` of what it claims.
fn article<'fd>(fd: &'fd UniqueFd, _: &'static Runtime) -> io::Result<Reader<'fd>> {
    let (mut payload, mut have) = (Vec::new(), 0);
    Ok(Box::new(move |_| {
        if payload.is_empty() {
            let mut header = [0; 4];
            sys::recv(fd, &mut header, 0)?;
            payload = vec![0; u32::from_be_bytes(header) as usize];
        }
        loop {
            match sys::recv(fd, &mut payload[have..], 0) {
                Ok(n) => have += n,
                result => return blocked(result),
            }
        }
    }))
}

fn ours<'fd>(fd: &'fd UniqueFd, _: &'static Runtime) -> io::Result<Reader<'fd>> {
    let mut frames = FrameReader::new(fd, DEFAULT_CAP);
    Ok(Box::new(move |_| blocked(frames.next_frame())))
}

fn tokio_util<'fd>(fd: &'fd UniqueFd, runtime: &'static Runtime) -> io::Result<Reader<'fd>> {
    let _inside = runtime.enter();
    let stream = tokio::net::UnixStream::from_std(fd.as_fd().try_clone_to_owned()?.into())?;
    let mut frames = FramedRead::new(stream, tokio_peer::codec());
    Ok(Box::new(move |sent| {
        runtime.block_on(async {
            // The codec drops the header once it has read it.
            while frames.read_buffer().len() + 4 < sent || frames.read_buffer().capacity() < sent {
                let _ = frames.next().now_or_never();
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }))
}

/// Nothing more has arrived, and that is as it should be.
fn blocked<T>(result: io::Result<T>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(e) => Err(e),
        Ok(_) => Err(io::Error::other("a frame that was never sent")),
    }
}
