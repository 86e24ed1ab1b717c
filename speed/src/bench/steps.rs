//! The steps of `speed::steps`, measured: how fast, how much CPU time, how many system calls,
//! segments and instructions a message.

use std::ffi::c_int;
use std::hint::black_box;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;
use std::{iter, mem};

use speed::steps::*;
use tcp_stream_io::stream::send_all;
use tcp_stream_io::{UniqueFd, sys};

use crate::threads::{Clock, Took, pair, two_roles};

pub const FRAMES: &str = "frames of 64 bytes";
pub const LINES: &str = "lines of 80 bytes";
pub const TRIPS: &str = "requests of 64 bytes, one core";
pub const TWO_CORES: &str = "requests of 64 bytes, two cores";
pub const SERIES: [&str; 4] = [FRAMES, LINES, TRIPS, TWO_CORES];

static PAYLOAD: [u8; 64] = [b'x'; 64];
pub const LINE: usize = 80;

/// One side: the one that begins, and says by its clock for how long.
type Begin = fn(&UniqueFd, &mut Clock) -> io::Result<()>;
/// The other one: how many messages it has seen.
type Follow = fn(&UniqueFd) -> io::Result<u64>;

/// A step of a series, and what is new in it.
#[derive(Clone, Copy)]
pub struct Step {
    pub series: &'static str,
    pub name: &'static str,
    pub news: &'static str,
    begin: Begin,
    follow: Follow,
}

fn messages(clock: &mut Clock) -> impl Iterator<Item = &'static [u8]> {
    iter::from_fn(|| clock.more().then(|| black_box(&PAYLOAD[..])))
}

/// A step of frames: whose `send`, whose `receive`.
macro_rules! frames {
    ($name:literal, $news:literal, $send:ident, $receive:ident) => {
        Step {
            series: FRAMES,
            name: $name,
            news: $news,
            begin: |fd, clock| $send::send(fd, messages(clock)),
            follow: |fd| {
                let mut count = 0;
                $receive::receive(fd, |payload| {
                    black_box(payload);
                    count += 1;
                })?;
                Ok(count)
            },
        }
    };
}

macro_rules! lines {
    ($name:literal, $news:literal, $receive:ident) => {
        Step {
            series: LINES,
            name: $name,
            news: $news,
            begin: send_lines,
            follow: |fd| {
                let mut count = 0;
                $receive::receive(fd, |line| {
                    black_box(line);
                    count += 1;
                })?;
                Ok(count)
            },
        }
    };
}

macro_rules! trips {
    ($series:ident, $name:literal, $news:literal, $step:ident) => {
        Step {
            series: $series,
            name: $name,
            news: $news,
            begin: |fd, clock| {
                $step::ask(fd, messages(clock), |answer| {
                    black_box(answer);
                })
            },
            follow: |fd| $step::answer(fd).map(|()| 0),
        }
    };
}

#[rustfmt::skip]
pub const STEPS: [Step; 16] = [
    frames!("1 two sends", "the article's: two sends, two receives", frames_1_two_sends, frames_1_two_sends),
    frames!("2 one sendmsg", "header and payload in one call", frames_2_one_sendmsg, frames_1_two_sends),
    frames!("3 many a send", "many frames leave in one call", frames_3_many_a_send, frames_1_two_sends),
    frames!("4 many a recv", "many arrive in one call, and are lent", frames_3_many_a_send, frames_4_many_a_recv),
    frames!("5 whole segments", "a batch ends where a segment ends", frames_5_whole_segments, frames_4_many_a_recv),
    frames!("6 try again", "the reader tries again before it sleeps", frames_5_whole_segments, frames_6_try_again),
    lines!("1 byte by byte", "the article's: a receive a byte", lines_1_byte_by_byte),
    lines!("2 a buffer", "many lines arrive in one call", lines_2_buffer),
    lines!("3 one pass", "memchr finds the end; the line is lent", lines_3_one_pass),
    trips!(TRIPS, "1 two sends", "the article's", trips_1_two_sends),
    trips!(TRIPS, "2 NODELAY", "nothing waits for an acknowledgement", trips_2_nodelay),
    trips!(TRIPS, "3 one send", "header and payload in one call", trips_3_one_send),
    trips!(TWO_CORES, "1 two sends", "the article's", trips_1_two_sends),
    trips!(TWO_CORES, "2 NODELAY", "nothing waits for an acknowledgement", trips_2_nodelay),
    trips!(TWO_CORES, "3 one send", "header and payload in one call", trips_3_one_send),
    trips!(TWO_CORES, "4 spinning", "the reader does not sleep", trips_4_spinning),
];

/// A segment's worth of lines a call: only who reads them differs.
fn send_lines(fd: &UniqueFd, clock: &mut Clock) -> io::Result<()> {
    let mut lines = [b'x'; LINE];
    lines[LINE - 1] = b'\n';
    let lines = lines.repeat(818);
    let mut left = 0;
    while clock.more() {
        left += LINE;
        if left == lines.len() {
            send_all(fd, &lines)?;
            left = 0;
        }
    }
    send_all(fd, &lines[..left])
}

/// What a run did.
pub struct Ran {
    pub messages: u64,
    /// Data segments, both ways.
    pub segments: u64,
    pub took: Took,
}

impl Step {
    /// Whether each request waits for its answer.
    pub fn is_trip(&self) -> bool {
        self.series == TRIPS || self.series == TWO_CORES
    }

    /// The article's requests take 88 ms each.
    pub fn is_slow(&self) -> bool {
        self.is_trip() && self.name.starts_with('1')
    }

    /// What both spin on comes out otherwise each time.
    pub fn is_steady(&self) -> bool {
        !self.name.ends_with("spinning")
    }

    /// Runs for about so long.
    pub fn run(&self, cores: [usize; 2], time: Duration) -> io::Result<Ran> {
        let stretch = match self.is_trip() {
            _ if self.is_slow() => 1,
            true => 64,
            false => 818,
        };
        self.run_by(cores, &mut Clock::new(stretch, time))
    }

    fn run_by(&self, [one, other]: [usize; 2], clock: &mut Clock) -> io::Result<Ran> {
        let (ours, theirs) = pair()?;
        if self.name == "1 byte by byte" {
            // What is on the way when the time is over would take it seconds to read.
            sys::set_option(&ours, libc::SOL_SOCKET, libc::SO_SNDBUF, 64 * 1024)?;
            sys::set_option(&theirs, libc::SOL_SOCKET, libc::SO_RCVBUF, 64 * 1024)?;
        }
        let cores = if self.series == TRIPS { [one, one] } else { [one, other] };
        let beginning = || {
            (self.begin)(&ours, clock)?;
            sys::shutdown(&ours, libc::SHUT_WR)?;
            Ok(clock.calls)
        };
        let (sent, received, took) = two_roles(cores, beginning, || (self.follow)(&theirs))?;
        if sent != received && !self.is_trip() {
            return Err(io::Error::other(format!("{sent} messages sent, {received} received")));
        }
        let segments = segments_sent(&ours)? + segments_sent(&theirs)?;
        Ok(Ran { messages: sent, segments, took })
    }

    /// Exactly so many messages, and nothing else: what is counted under callgrind.
    pub fn repeat(&self, core: usize, n: u64) -> io::Result<()> {
        if self.is_trip() {
            return self.run_by([core, core], &mut Clock::counting(n)).map(|_| ());
        }
        // One thread: it sends what the socket's buffers have room for, and then receives it.
        let (ours, theirs) = pair()?;
        (self.begin)(&ours, &mut Clock::counting(n))?;
        sys::shutdown(&ours, libc::SHUT_WR)?;
        let received = (self.follow)(&theirs)?;
        if received == n { Ok(()) } else { Err(io::Error::other(format!("{received} of {n}"))) }
    }
}

/// TCP_INFO, tcp(7): data segments that left, those that were sent again not counted.
fn segments_sent(fd: &UniqueFd) -> io::Result<u64> {
    // SAFETY: tcp_info is a C struct of integers: all zeroes is a valid value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let (at, mut len) = ((&raw mut info).cast(), size_of::<libc::tcp_info>() as libc::socklen_t);
    let (level, name): (c_int, c_int) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: `at` is writable for `len` bytes, and the kernel writes no more than that.
    match unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, at, &mut len) } {
        0 => Ok(u64::from(info.tcpi_data_segs_out.saturating_sub(info.tcpi_total_retrans))),
        _ => Err(sys::last_errno()),
    }
}
