//! `FrameWriter` and `FrameReader`: the same bytes as one frame at a time, in fewer calls.

mod support;

use std::io::ErrorKind;
use std::thread;
use std::time::Instant;

use speed::batch::{FrameReader, FrameWriter};
use stage::kernel;
use support::*;
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
        let conn = stream_of(&stream[..cut]);
        let mut frames = FrameReader::new(&conn, 16);
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
fn next_frames_lends_what_has_arrived_whole_and_no_more() {
    let stream = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c";
    let payloads = [&b"ab"[..], b"", b"c"];
    for cut in 1..=stream.len() {
        let whole = [6, 10, 15].iter().filter(|&&end| end <= cut).count();
        let (sender, receiver) = pair();
        send_all(&sender, &stream[..cut]).unwrap();
        kernel::wait_until_unread(&receiver, cut).unwrap();
        let mut frames = FrameReader::new(&receiver, 16);
        if whole > 0 {
            let lent: Vec<_> = frames.next_frames().unwrap().unwrap().collect();
            assert_eq!(lent, payloads[..whole], "cut at {cut}");
        }
        // The rest comes, and then the end.
        send_all(&sender, &stream[cut..]).unwrap();
        drop(sender);
        kernel::wait_until_peer_ended(&receiver).unwrap();
        if whole < 3 {
            let lent: Vec<_> = frames.next_frames().unwrap().unwrap().collect();
            assert_eq!(lent, payloads[whole..], "cut at {cut}");
        }
        assert!(frames.next_frames().unwrap().is_none(), "cut at {cut}");
    }
}

#[test]
fn what_next_frames_was_not_asked_for_comes_with_the_next_call() {
    let conn = stream_of(b"\0\0\0\x01a\0\0\0\x01b\0\0\0\x01c");
    kernel::wait_until_unread(&conn, 15).unwrap();
    let mut frames = FrameReader::new(&conn, 16);
    let mut arrived = frames.next_frames().unwrap().unwrap();
    assert_eq!(arrived.next(), Some(&b"a"[..]));
    let _ = frames.next_frames().unwrap().unwrap(); // asked for nothing
    assert_eq!(frames.next_frame().unwrap(), Some(&b"b"[..]));
    let rest: Vec<_> = frames.next_frames().unwrap().unwrap().collect();
    assert_eq!(rest, [b"c"]);
}

#[test]
fn a_claim_over_the_cap_ends_what_next_frames_lends() {
    let conn = stream_of(b"\0\0\0\0\0\0\0\x040123");
    kernel::wait_until_unread(&conn, 12).unwrap();
    let mut frames = FrameReader::new(&conn, 3);
    let lent: Vec<_> = frames.next_frames().unwrap().unwrap().collect();
    assert_eq!(lent, [b""]);
    for _ in 0..3 {
        assert_eq!(frames.next_frames().unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn a_deadline_holds_back_what_stands_more_than_a_kib_on() {
    let (sender, receiver) = pair();
    let frame = [&b"\0\0\0\x3c"[..], &[7; 60]].concat();
    send_all(&sender, &frame.repeat(40)).unwrap();
    kernel::wait_until_unread(&receiver, 40 * 64).unwrap();
    let mut frames = FrameReader::new(&receiver, 64);
    frames.set_deadline(Some(soon()));
    assert_eq!(frames.next_frames().unwrap().unwrap().count(), 16);
    frames.set_deadline(Some(past()));
    assert_eq!(frames.next_frames().unwrap_err().kind(), ErrorKind::TimedOut);
    frames.set_deadline(None);
    assert_eq!(frames.next_frames().unwrap().unwrap().count(), 24);
}

#[test]
fn a_claim_over_the_cap_is_an_error_that_stays() {
    for claim in [17, 1 << 20, u32::MAX] {
        let bytes = [&b"\0\0\0\x01x"[..], &claim.to_be_bytes(), b"\0\0\0\0"].concat();
        let conn = stream_of(&bytes);
        let mut frames = FrameReader::new(&conn, 16);
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
            scope.spawn(move || send_all(&sender, &[&claim[..], &vec![0; sent]].concat()));
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
    let error = loop {
        if let Err(e) = frames.write_frame(&payload) {
            break e;
        }
    };
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

#[test]
fn an_error_that_is_said_again_keeps_its_errno() {
    let (peer, conn) = pair();
    send_all(&peer, b"x").unwrap();
    kernel::wait_until_unread(&conn, 1).unwrap();
    kernel::reset_on_close(&peer).unwrap();
    drop(peer);
    kernel::wait_until_peer_ended(&conn).unwrap();
    let mut reader = FrameReader::new(&conn, 16);
    for _ in 0..3 {
        assert_eq!(reader.next_frame().unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
    }
    let mut writer = FrameWriter::new(&conn, 16);
    writer.write_frame(b"y").unwrap();
    for _ in 0..3 {
        assert_eq!(writer.flush().unwrap_err().raw_os_error(), Some(libc::EPIPE));
        assert_eq!(writer.write_frame(b"y").unwrap_err().raw_os_error(), Some(libc::EPIPE));
    }
}

// ---- deadlines ----

/// Sends a frame and waits until it is there.
fn send_and_wait(sender: &UniqueFd, receiver: &UniqueFd, payload: usize) {
    send_frame(sender, &vec![7; payload], DEFAULT_CAP).unwrap();
    kernel::wait_until_unread(receiver, 4 + payload).unwrap();
}

#[test]
fn a_deadline_that_has_passed_comes_before_any_try() {
    // A reader that was told nothing, one that never spins, one that spins.
    for spins in [None, Some(0), Some(1000)] {
        let (sender, receiver) = pair();
        let mut frames = FrameReader::new(&receiver, DEFAULT_CAP);
        if let Some(spins) = spins {
            frames.set_spins(spins);
        }
        for payload in [199_992, 40_000] {
            send_and_wait(&sender, &receiver, payload);
            assert_eq!(frames.next_frame().unwrap().map(<[u8]>::len), Some(payload));
        }
        // The stream is flowing, and one more frame is there.
        send_and_wait(&sender, &receiver, 10);
        let before = receives();
        frames.set_deadline(Some(past()));
        assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::TimedOut, "{spins:?}");
        assert_eq!(receives(), before, "{spins:?}: tried all the same");
        frames.set_deadline(Some(soon()));
        assert_eq!(frames.next_frame().unwrap(), Some(&[7; 10][..]), "{spins:?}: lost");
    }
}

#[test]
fn a_deadline_that_has_passed_holds_back_a_frame_that_is_in_the_buffer() {
    let conn = stream_of(b"\0\0\0\x01a\0\0\0\x01b");
    kernel::wait_until_unread(&conn, 10).unwrap();
    let mut frames = FrameReader::new(&conn, 16);
    assert_eq!(frames.next_frame().unwrap(), Some(&b"a"[..]));
    assert_eq!(kernel::unread(&conn).unwrap(), 0);
    frames.set_deadline(Some(past()));
    assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::TimedOut);
    frames.set_deadline(None);
    assert_eq!(frames.next_frame().unwrap(), Some(&b"b"[..]));
    assert_eq!(frames.next_frame().unwrap(), None);
}

#[test]
fn a_deadline_holds_while_a_flood_meets_a_slow_consumer() {
    for (payload, spins) in [(1, 0), (1, 1000), (1000, 0), (1000, 1000), (100_000, 1000)] {
        let (sender, receiver) = pair();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut frames = FrameWriter::new(&sender, DEFAULT_CAP);
                // Until nobody reads any more.
                while frames.write_frame(&vec![7; payload]).is_ok() {}
            });
            let mut frames = FrameReader::new(&receiver, DEFAULT_CAP);
            frames.set_spins(spins);
            let until = Instant::now() + millis(100);
            frames.set_deadline(Some(until));
            let mut after = 0;
            loop {
                match frames.next_frame() {
                    Ok(Some(lent)) => assert_eq!(lent.len(), payload),
                    Ok(None) => panic!("the flood has ended"),
                    Err(e) => break assert_eq!(e.kind(), ErrorKind::TimedOut),
                }
                after += usize::from(Instant::now() >= until);
                thread::sleep(millis(1)); // the consumer is slow
            }
            // What was lent too late: one KiB at the most, or one frame.
            assert!(after <= 1 + 1024 / (4 + payload), "{payload} bytes: {after} frames too late");
            kernel::reset_on_close(&receiver).unwrap();
            drop(receiver);
        });
    }
}

#[test]
fn a_writer_whose_deadline_has_passed_sends_nothing() {
    let (sender, receiver) = pair();
    let mut frames = FrameWriter::new(&sender, 16);
    frames.set_deadline(Some(past()));
    frames.write_frame(b"late").unwrap();
    assert_eq!(frames.flush().unwrap_err().kind(), ErrorKind::TimedOut);
    drop(sender);
    assert_eq!(recv_frame(&receiver, 16).unwrap(), None);
}

#[test]
fn a_flowing_stream_is_tried_again_before_a_sleep_and_a_request_is_not() {
    let (sender, receiver) = pair();
    let me = Receiver::this_thread();
    let mut frames = FrameReader::new(&receiver, DEFAULT_CAP);
    // After a frame of this size: how many receives until the next one is here?
    let mut receives_after = |payload: usize| {
        send_and_wait(&sender, &receiver, payload);
        assert_eq!(frames.next_frame().unwrap().map(<[u8]>::len), Some(payload));
        let before = receives();
        thread::scope(|scope| {
            scope.spawn(|| {
                me.wait_until_blocked(); // it has given up trying
                send_frame(&sender, b"next", DEFAULT_CAP).unwrap();
            });
            assert_eq!(frames.next_frame().unwrap(), Some(&b"next"[..]));
        });
        receives() - before
    };
    receives_after(200_000); // the buffer grows in steps
    assert_eq!(receives_after(50_000), 50 + 1);
    assert_eq!(receives_after(100), 1);
}

#[test]
fn spinning_ends_at_the_deadline() {
    let (_sender, receiver) = pair();
    let mut frames = FrameReader::new(&receiver, DEFAULT_CAP);
    frames.set_spins(u32::MAX); // a quarter of an hour
    frames.set_deadline(Some(at_once()));
    assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::TimedOut);
}
