//! `FrameWriter` and `FrameReader`: the same bytes as one frame at a time, in fewer calls.

mod support;

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use stage::kernel;
use support::{Interrupter, SYS_POLL, millis, pair, soon, stream_of};
use tcp_stream_io::framing::batch::{FrameReader, FrameWriter};
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame, send_frame};
use tcp_stream_io::{UniqueFd, send_all};

/// Payloads of many sizes, around the buffer's and the segment's.
fn payloads() -> Vec<Vec<u8>> {
    let sizes = [0, 1, 5, 100, 4096, 65_479, 65_480, 65_536, 261_928, 261_932, 261_936, 1 << 20];
    let numbered = sizes.iter().cycle().take(3 * sizes.len()).enumerate();
    numbered.map(|(i, &size)| (0..size).map(|at| (i + at % 251) as u8).collect()).collect()
}

#[test]
fn what_the_writer_sends_is_read_a_frame_at_a_time() {
    let (sender, receiver) = pair();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut frames = FrameWriter::new(&sender, DEFAULT_CAP);
            for payload in payloads() {
                frames.write_frame(&payload).unwrap();
            }
            frames.flush().unwrap();
        });
        for payload in payloads() {
            assert!(recv_frame(&receiver, DEFAULT_CAP).unwrap() == Some(payload));
        }
    });
}

#[test]
fn the_reader_lends_what_was_sent_a_frame_at_a_time() {
    let (sender, receiver) = pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            for payload in payloads() {
                send_frame(&sender, &payload, DEFAULT_CAP).unwrap();
            }
        });
        let mut frames = FrameReader::new(&receiver, DEFAULT_CAP);
        frames.set_spins(10);
        for payload in payloads() {
            assert!(frames.next_frame().unwrap() == Some(&payload[..]));
        }
        assert_eq!(frames.next_frame().unwrap(), None);
        assert_eq!(frames.next_frame().unwrap(), None);
    });
}

#[test]
fn a_stream_cut_at_any_byte_ends_cleanly_between_frames_only() {
    let stream = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c";
    let boundaries = [0, 6, 10, 15];
    for cut in 0..=stream.len() {
        let mut frames = FrameReader::new(stream_of(&stream[..cut]), 16);
        let whole = boundaries.iter().filter(|&&end| end > 0 && end <= cut).count();
        for _ in 0..whole {
            assert!(frames.next_frame().unwrap().is_some(), "cut at {cut}");
        }
        for _ in 0..3 {
            match frames.next_frame() {
                Ok(None) => assert!(boundaries.contains(&cut), "cut at {cut}: a clean end"),
                Ok(Some(payload)) => panic!("cut at {cut}: {payload:?}"),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::UnexpectedEof, "cut at {cut}");
                    assert!(!boundaries.contains(&cut), "cut at {cut}: {e}");
                }
            }
        }
    }
}

#[test]
fn a_claim_over_the_cap_is_an_error_that_stays() {
    for claim in [17, 1 << 20, u32::MAX] {
        let bytes = [&b"\0\0\0\x01x"[..], &claim.to_be_bytes(), b"\0\0\0\0"].concat();
        let mut frames = FrameReader::new(stream_of(&bytes), 16);
        assert_eq!(frames.next_frame().unwrap(), Some(&b"x"[..]));
        for _ in 0..3 {
            assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}

#[test]
fn memory_follows_what_arrives_and_not_what_is_claimed() {
    const STEP: usize = 64 * 1024;
    for sent in [0, 1, 1000, STEP, 300_000] {
        let claim = (DEFAULT_CAP as u32).to_be_bytes();
        let (sender, receiver) = pair();
        let mut frames = FrameReader::new(&receiver, DEFAULT_CAP);
        let (result, peak) = thread::scope(|scope| {
            scope.spawn(move || send_all(sender, &[&claim[..], &vec![0; sent]].concat()));
            stage::memory::peak_of(|| frames.next_frame().map(|_| ()))
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let limit = 4 + sent + STEP + 1024; // and the error's text
        assert!(peak <= limit, "{sent} bytes sent, {peak} allocated");
    }
}

#[test]
fn no_frame_costs_an_allocation() {
    let (sender, receiver) = pair();
    let mut writer = FrameWriter::new(&sender, DEFAULT_CAP);
    let mut reader = FrameReader::new(&receiver, DEFAULT_CAP);
    let mut exchange = || {
        for _ in 0..100 {
            writer.write_frame(&[7; 64]).unwrap();
        }
        writer.flush().unwrap();
        for _ in 0..100 {
            assert_eq!(reader.next_frame().unwrap(), Some(&[7; 64][..]));
        }
    };
    exchange(); // the buffers
    let ((), allocated) = stage::memory::peak_of(exchange);
    assert_eq!(allocated, 0);
}

#[test]
fn a_payload_over_the_cap_adds_nothing_and_the_writer_goes_on() {
    let (sender, receiver) = pair();
    let mut frames = FrameWriter::new(&sender, 4);
    assert_eq!(frames.write_frame(b"12345").unwrap_err().kind(), ErrorKind::InvalidInput);
    frames.write_frame(b"1234").unwrap();
    frames.flush().unwrap();
    drop(sender);
    assert_eq!(recv_frame(&receiver, 4).unwrap().as_deref(), Some(&b"1234"[..]));
    assert_eq!(recv_frame(&receiver, 4).unwrap(), None);
}

#[test]
fn a_deadline_loses_nothing_that_was_received() {
    let (sender, receiver) = pair();
    let mut frames = FrameReader::new(&receiver, 16);
    send_all(&sender, b"\0\0\0\x04ab").unwrap();
    frames.set_deadline(Some(Instant::now() + millis(20)));
    assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::TimedOut);
    send_all(&sender, b"cd").unwrap();
    frames.set_deadline(Some(soon()));
    assert_eq!(frames.next_frame().unwrap(), Some(&b"abcd"[..]));
}

#[test]
fn a_writer_that_failed_stays_failed() {
    let (sender, _receiver): (UniqueFd, UniqueFd) = pair();
    let mut frames = FrameWriter::new(&sender, DEFAULT_CAP);
    frames.set_deadline(Some(Instant::now() + millis(20)));
    let payload = vec![0; DEFAULT_CAP];
    let error = std::iter::repeat_with(|| frames.write_frame(&payload)).find_map(Result::err);
    let error = error.expect("it is repeated until then");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    frames.set_deadline(None);
    assert_eq!(frames.write_frame(b"").unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(frames.flush().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn a_reset_inside_a_frame_stays_an_error() {
    let (peer, conn) = pair();
    send_all(&peer, b"\0\0\0\x01x\0\0\0\x04ab").unwrap();
    kernel::wait_until_unread(&conn, 11).unwrap();
    kernel::reset_on_close(&peer).unwrap();
    drop(peer);
    kernel::wait_until_peer_ended(&conn).unwrap();
    let mut frames = FrameReader::new(&conn, 16);
    assert_eq!(frames.next_frame().unwrap(), Some(&b"x"[..]));
    for _ in 0..3 {
        // The kernel tells it once, and then says end of stream.
        assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_stream_of_small_frames_needs_no_more_memory_than_one_receive() {
    let (sender, receiver) = pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut frames = FrameWriter::new(&sender, 64);
            for _ in 0..200_000 {
                frames.write_frame(&[7; 60]).unwrap();
            }
            frames.flush().unwrap();
        });
        let mut frames = FrameReader::new(&receiver, 64);
        let ((), peak) = stage::memory::peak_of(|| while frames.next_frame().unwrap().is_some() {});
        assert!(peak <= 4 * 65_483, "{peak} allocated");
    });
}

/// Counts how often its descriptor is asked for: once a system call.
struct Counted<'a>(&'a UniqueFd, &'a AtomicUsize);

impl AsFd for Counted<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.as_fd()
    }
}

#[test]
fn a_flowing_stream_is_tried_again_before_a_sleep_and_a_request_is_not() {
    let me = Interrupter::of_this_thread();
    let (sender, receiver) = pair();
    let calls = AtomicUsize::new(0);
    let mut frames = FrameReader::new(Counted(&receiver, &calls), DEFAULT_CAP);
    frames.set_deadline(Some(soon()));
    let mut calls_with_a_sleep_after = |frame: usize| {
        send_frame(&sender, &vec![7; frame], DEFAULT_CAP).unwrap();
        kernel::wait_until_unread(&receiver, 4 + frame).unwrap();
        assert_eq!(frames.next_frame().unwrap().map(<[u8]>::len), Some(frame));
        calls.store(0, Ordering::SeqCst);
        thread::scope(|scope| {
            scope.spawn(|| {
                me.wait_until_blocked_in(SYS_POLL); // nothing comes before it sleeps
                send_frame(&sender, b"", DEFAULT_CAP).unwrap();
            });
            assert_eq!(frames.next_frame().unwrap(), Some(&b""[..]));
        });
        calls.load(Ordering::SeqCst)
    };
    calls_with_a_sleep_after(200_000); // the buffer grows in steps
    let flowing = calls_with_a_sleep_after(50_000);
    let request = calls_with_a_sleep_after(100);
    assert_eq!((request, flowing), (2, 50 + 2)); // a poll and a recv, after so many tries
}

#[test]
fn spinning_ends_when_something_comes_or_at_the_deadline() {
    let (sender, receiver) = pair();
    let calls = AtomicUsize::new(0);
    let mut frames = FrameReader::new(Counted(&receiver, &calls), DEFAULT_CAP);
    frames.set_spins(u32::MAX);
    thread::scope(|scope| {
        scope.spawn(|| {
            let many = || Ok(calls.load(Ordering::SeqCst) > 1000);
            kernel::wait_for("a thousand tries", many).unwrap();
            send_frame(&sender, b"here", DEFAULT_CAP).unwrap();
        });
        assert_eq!(frames.next_frame().unwrap(), Some(&b"here"[..]));
    });
    let deadline = Instant::now() + millis(10);
    frames.set_deadline(Some(deadline));
    assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(Instant::now() >= deadline, "before its time");
}
