//! Request and response of 64 bytes over one kept connection, one at a time.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use speed::batch::{FrameReader, FrameWriter};
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame, send_frame};
use tcp_stream_io::stream::{recv_exact, send_all};
use tcp_stream_io::{UniqueFd, sys};
use tokio_util::bytes::Bytes;
use tokio_util::codec::Framed;

use crate::measure::{Case, Sample};
use crate::threads::{Clock, pair, two_roles};
use crate::tokio_peer;

pub const SECTION: &str = "roundtrip";
pub const METRIC: &str = "us a round trip";
const REQUEST: [u8; 64] = [b'x'; 64];

pub const ARTICLE: &str = "article";

type Client = fn(UniqueFd, &mut Clock) -> io::Result<()>;
type Server = fn(UniqueFd) -> io::Result<()>;

const PEERS: [(&str, Client, Server); 8] = [
    (ARTICLE, article_client, article_server),
    ("article + NODELAY", nodelay_client, nodelay_server),
    ("gathered", gathered_client, gathered_server),
    ("ours", ours_client::<0>, ours_server::<0>),
    ("ours, spins", ours_client::<2000>, ours_server::<2000>),
    ("tokio-util", tokio_client, tokio_server),
    ("floor", floor_client::<1>, floor_server::<1>),
    ("floor, two receives", floor_client::<2>, floor_server::<2>),
];

/// x is the number of cores.
pub fn cases([one, other]: [usize; 2]) -> Vec<Case> {
    let mut cases: Vec<Case> = PEERS.map(|peer| case([one, one], peer)).into();
    cases.retain(|case| case.peer != "ours, spins"); // both would spin on the same core
    if one != other {
        cases.extend(PEERS.map(|peer| case([one, other], peer)));
    }
    cases
}

fn case(cores: [usize; 2], (peer, client, server): (&'static str, Client, Server)) -> Case {
    let run = move |time: Duration| {
        let (requests, answers) = pair()?;
        // The article's takes 88 ms: a few of them, or there is nothing to divide by.
        let (stretch, time) =
            if peer == ARTICLE { (1, time.max(Duration::from_millis(250))) } else { (64, time) };
        let asking = || {
            let mut clock = Clock::new(stretch, time);
            client(requests, &mut clock).map(|()| clock.seconds_a_call())
        };
        let (trip, (), took) = two_roles(cores, asking, || server(answers))?;
        let values = vec![(METRIC, trip * 1e6)];
        // The article's sleeps nearly all of the time: that its core does not work says nothing.
        Ok(Sample { values, contended: took.contended && peer != ARTICLE })
    };
    let x = if cores[0] == cores[1] { 1 } else { 2 };
    Case { section: SECTION, peer: peer.into(), x, rounds: u32::MAX, run: Box::new(run) }
}

fn nodelay(fd: &UniqueFd) -> io::Result<()> {
    sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

fn article_send_one(fd: &UniqueFd, payload: &[u8]) -> io::Result<()> {
    send_all(fd, &(payload.len() as u32).to_be_bytes())?;
    send_all(fd, payload)
}

fn article_client(fd: UniqueFd, clock: &mut Clock) -> io::Result<()> {
    while clock.more() {
        article_send_one(&fd, &REQUEST)?;
        black_box(recv_frame(&fd, DEFAULT_CAP)?);
    }
    Ok(())
}

fn article_server(fd: UniqueFd) -> io::Result<()> {
    while let Some(payload) = recv_frame(&fd, DEFAULT_CAP)? {
        article_send_one(&fd, &payload)?;
    }
    Ok(())
}

fn nodelay_client(fd: UniqueFd, clock: &mut Clock) -> io::Result<()> {
    nodelay(&fd)?;
    article_client(fd, clock)
}

fn nodelay_server(fd: UniqueFd) -> io::Result<()> {
    nodelay(&fd)?;
    article_server(fd)
}

fn gathered_client(fd: UniqueFd, clock: &mut Clock) -> io::Result<()> {
    while clock.more() {
        send_frame(&fd, &REQUEST, DEFAULT_CAP)?;
        black_box(recv_frame(&fd, DEFAULT_CAP)?);
    }
    Ok(())
}

fn gathered_server(fd: UniqueFd) -> io::Result<()> {
    while let Some(payload) = recv_frame(&fd, DEFAULT_CAP)? {
        send_frame(&fd, &payload, DEFAULT_CAP)?;
    }
    Ok(())
}

fn ours_client<const SPINS: u32>(fd: UniqueFd, clock: &mut Clock) -> io::Result<()> {
    let mut requests = FrameWriter::new(&fd, DEFAULT_CAP);
    let mut answers = FrameReader::new(&fd, DEFAULT_CAP);
    answers.set_spins(SPINS);
    while clock.more() {
        requests.write_frame(&REQUEST)?;
        requests.flush()?;
        black_box(answers.next_frame()?);
    }
    Ok(())
}

fn ours_server<const SPINS: u32>(fd: UniqueFd) -> io::Result<()> {
    let mut answers = FrameWriter::new(&fd, DEFAULT_CAP);
    let mut requests = FrameReader::new(&fd, DEFAULT_CAP);
    requests.set_spins(SPINS);
    while let Some(payload) = requests.next_frame()? {
        answers.write_frame(payload)?;
        answers.flush()?;
    }
    Ok(())
}

fn tokio_client(fd: UniqueFd, clock: &mut Clock) -> io::Result<()> {
    tokio_peer::block_on(async {
        let mut frames = Framed::new(tokio_peer::stream(fd)?, tokio_peer::codec());
        while clock.more() {
            frames.send(Bytes::from_static(&REQUEST)).await?;
            black_box(frames.next().await.transpose()?);
        }
        Ok(())
    })
}

fn tokio_server(fd: UniqueFd) -> io::Result<()> {
    tokio_peer::block_on(async {
        let mut frames = Framed::new(tokio_peer::stream(fd)?, tokio_peer::codec());
        while let Some(payload) = frames.next().await.transpose()? {
            frames.send(payload.freeze()).await?;
        }
        Ok(())
    })
}

/// As few bytes as it takes: a byte for each `recv` that the other side makes.
fn floor_client<const CALLS: usize>(fd: UniqueFd, clock: &mut Clock) -> io::Result<()> {
    while clock.more() {
        send_all(&fd, &[0; CALLS])?;
        for _ in 0..CALLS {
            recv_exact(&fd, &mut [0])?;
        }
    }
    Ok(())
}

fn floor_server<const CALLS: usize>(fd: UniqueFd) -> io::Result<()> {
    while sys::recv(&fd, &mut [0], 0)? > 0 {
        for _ in 1..CALLS {
            recv_exact(&fd, &mut [0])?;
        }
        send_all(&fd, &[0; CALLS])?;
    }
    Ok(())
}
