//! `LineReader`: whole lines come out whole, and what is broken is told apart.

mod support;

use std::io::ErrorKind;
use std::thread;
use std::time::Instant;

use libc::SHUT_WR;
use speed::line::LineReader;
use stage::kernel;
use support::*;
use tcp_stream_io::{send_all, sys};

/// What a stream of these bytes must be read as: the whole lines, and the tail without an end.
fn lines_of(bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut parts: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let tail = parts.pop().unwrap();
    (parts.iter().map(|p| p.strip_suffix(b"\r").unwrap_or(p).to_vec()).collect(), tail)
}

/// Lines up to the end of the stream, to the first error, or until no more have arrived.
fn read_lines(lines: &mut LineReader<'_>) -> (Vec<Vec<u8>>, Option<ErrorKind>) {
    let mut all = Vec::new();
    loop {
        match lines.next_line() {
            Ok(Some(line)) => all.push(line.to_vec()),
            Ok(None) => return (all, None),
            Err(e) => return (all, Some(e.kind())),
        }
    }
}

#[test]
fn lines_end_at_a_newline_or_at_cr_and_newline() {
    let table: [(&[u8], &[&[u8]]); 9] = [
        (b"", &[]),
        (b"a\n", &[b"a"]),
        (b"a\r\n", &[b"a"]),
        (b"\n\r\n\n", &[b"", b"", b""]),
        (b"a\rb\n", &[b"a\rb"]),
        (b"a\r\r\n", &[b"a\r"]),
        (b"\r\n\r", &[b""]), // the last \r is a tail
        (b"12345678\n12345678\r\n1234567\r\r\n", &[b"12345678", b"12345678", b"1234567\r"]),
        (b"\0\xff\n", &[b"\0\xff"]),
    ];
    for (sent, expected) in table {
        let conn = stream_of(sent);
        let (lines, error) = read_lines(&mut LineReader::new(&conn, 8));
        assert_eq!(lines, expected, "{}", sent.escape_ascii());
        let tail = !sent.is_empty() && !sent.ends_with(b"\n");
        assert_eq!(error, tail.then_some(ErrorKind::UnexpectedEof), "{}", sent.escape_ascii());
        assert_eq!(lines_of(sent).0, expected, "the rule that the next tests go by");
    }
}

const LINES: &[u8] = b"one\n\ntwo and\r\n\r\n3\r4\r\r\nfour\n";

#[test]
fn a_stream_of_lines_may_end_at_any_byte() {
    for cut in 0..=LINES.len() {
        let sent = &LINES[..cut];
        let (expected, tail) = lines_of(sent);
        let conn = stream_of(sent);
        let mut lines = LineReader::new(&conn, 100);
        let (got, error) = read_lines(&mut lines);
        assert_eq!(got, expected, "{cut} bytes");
        assert_eq!(lines.partial(), tail, "{cut} bytes");
        assert_eq!(error, (!tail.is_empty()).then_some(ErrorKind::UnexpectedEof), "{cut} bytes");
        // It stays as it is: an end, or the same error with the same tail.
        assert_eq!(read_lines(&mut lines), (vec![], error), "{cut} bytes");
        assert_eq!(lines.partial(), tail, "{cut} bytes");
    }
}

#[test]
fn lines_split_at_any_byte_are_whole_and_a_deadline_in_between_loses_nothing() {
    let (expected, _) = lines_of(LINES);
    for cut in 0..=LINES.len() {
        let (conn, peer) = pair();
        let mut lines = LineReader::new(&conn, 8);
        send_all(&peer, &LINES[..cut]).unwrap();
        if cut > 0 {
            kernel::wait_until_unread(&conn, cut).unwrap();
        }
        lines.set_deadline(Some(Instant::now() + millis(2)));
        let (mut got, error) = read_lines(&mut lines);
        assert_eq!(error, Some(ErrorKind::TimedOut), "{cut} bytes");
        send_all(&peer, &LINES[cut..]).unwrap();
        drop(peer);
        lines.set_deadline(Some(soon()));
        let (rest, error) = read_lines(&mut lines);
        got.extend(rest);
        assert_eq!((got, error), (expected.clone(), None), "{cut} bytes");
    }
}

#[test]
fn lines_that_drip_are_whole() {
    let me = Receiver::this_thread();
    let (conn, peer) = pair();
    let (got, error) = thread::scope(|s| {
        s.spawn(|| {
            for byte in LINES.chunks(1) {
                me.interrupt();
                me.wait_until_blocked();
                send_all(&peer, byte).unwrap();
            }
            sys::shutdown(&peer, SHUT_WR).unwrap();
        });
        read_lines(&mut LineReader::new(&conn, 8))
    });
    assert_eq!((got, error), (lines_of(LINES).0, None));
}

#[test]
fn a_line_over_the_cap_is_an_error_until_it_is_skipped() {
    let table: [(&[u8], &[u8]); 7] = [
        (b"12345\n", b"next"), // one over
        (b"12345\r\n", b"next"),
        (b"1234\r\r\n", b"next"), // the first \r belongs to the line
        (b"123456\n", b"next"),
        (b"12345678901234567890123\n", b"next"),
        (b"1234567890\r\r\r\r\r\n", b"next"),
        (b"12345\n", b""),
    ];
    for (long, next) in table {
        let name = long.escape_ascii();
        let conn = stream_of(&[b"ok\n1234\n1234\r\n", long, next, b"\n"].concat());
        let mut lines = LineReader::new(&conn, 4);
        for fits in [&b"ok"[..], b"1234", b"1234"] {
            assert_eq!(lines.next_line().unwrap(), Some(fits), "{name}");
        }
        for _ in 0..3 {
            let e = lines.next_line().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidData, "{name}");
            let text = "a line is longer than 4 bytes; skip_line() goes on after it";
            assert_eq!(e.to_string(), text);
            // Up to where the line ends, though what is after it has arrived as well.
            assert_eq!(lines.partial(), long.strip_suffix(b"\n").unwrap(), "{name}");
        }
        assert!(lines.skip_line().unwrap(), "{name}");
        assert_eq!(lines.partial(), b"", "{name}");
        assert_eq!(lines.next_line().unwrap(), Some(next), "{name}");
        assert_eq!(lines.next_line().unwrap(), None, "{name}");
    }
}

#[test]
fn a_line_over_the_cap_that_drips_is_skipped_to_its_end() {
    let me = Receiver::this_thread();
    let (conn, peer) = pair();
    let mut lines = LineReader::new(&conn, 4);
    thread::scope(|s| {
        s.spawn(|| {
            for byte in b"12345678901234567890\nnext\n".chunks(1) {
                me.wait_until_blocked();
                send_all(&peer, byte).unwrap();
            }
        });
        assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(lines.skip_line().unwrap());
        assert_eq!(lines.next_line().unwrap(), Some(&b"next"[..]));
    });
}

#[test]
fn skip_line_says_when_the_stream_ends_first_and_the_error_stays() {
    let conn = stream_of(b"123456789");
    let mut lines = LineReader::new(&conn, 4);
    assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(!lines.skip_line().unwrap());
    assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(!lines.skip_line().unwrap());
}

#[test]
fn skip_line_goes_on_where_a_deadline_stopped_it() {
    let (conn, peer) = pair();
    let mut lines = LineReader::new(&conn, 4);
    send_all(&peer, b"123456789").unwrap();
    kernel::wait_until_unread(&conn, 9).unwrap();
    lines.set_deadline(Some(soon()));
    assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::InvalidData);
    lines.set_deadline(Some(Instant::now() + millis(5)));
    assert_eq!(lines.skip_line().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::InvalidData);
    send_all(&peer, b"the rest\nnext\n").unwrap();
    lines.set_deadline(Some(soon()));
    assert!(lines.skip_line().unwrap());
    assert_eq!(lines.next_line().unwrap(), Some(&b"next"[..]));
}

#[test]
fn a_reset_in_the_middle_of_a_line_stays_an_error() {
    let (conn, peer) = pair();
    send_all(&peer, b"one\ntw").unwrap();
    kernel::wait_until_unread(&conn, 6).unwrap();
    kernel::reset_on_close(&peer).unwrap();
    drop(peer);
    kernel::wait_until_peer_ended(&conn).unwrap();
    let mut lines = LineReader::new(&conn, 8);
    assert_eq!(lines.next_line().unwrap(), Some(&b"one"[..]));
    for _ in 0..3 {
        // The kernel tells it once, and then says end of stream.
        assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(lines.partial(), b"tw");
    assert_eq!(lines.skip_line().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_line_reader_without_a_cap_takes_any_line() {
    let mut long = vec![b'x'; 200_000];
    long.push(b'\n');
    let (sender, conn) = pair();
    thread::scope(|scope| {
        scope.spawn(move || send_all(&sender, &long).unwrap());
        let mut lines = LineReader::new(&conn, usize::MAX);
        assert_eq!(lines.next_line().unwrap().map(<[u8]>::len), Some(200_000));
        assert_eq!(lines.next_line().unwrap(), None);
    });
}

#[test]
fn one_recv_takes_all_lines_that_have_arrived() {
    let conn = stream_of(&b"a line\n".repeat(100));
    kernel::wait_until_unread(&conn, 700).unwrap();
    let mut lines = LineReader::new(&conn, 4096);
    assert_eq!(lines.next_line().unwrap(), Some(&b"a line"[..]));
    assert_eq!(kernel::unread(&conn).unwrap(), 0, "left in the kernel");
    assert_eq!(read_lines(&mut lines).0.len(), 99);
}

#[test]
fn an_error_that_is_said_again_keeps_its_errno() {
    let (peer, conn) = pair();
    kernel::reset_on_close(&peer).unwrap();
    drop(peer);
    kernel::wait_until_peer_ended(&conn).unwrap();
    let mut lines = LineReader::new(&conn, 8);
    for _ in 0..3 {
        assert_eq!(lines.next_line().unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        assert_eq!(lines.skip_line().unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
    }
}

// ---- deadlines ----

#[test]
fn a_deadline_that_has_passed_comes_before_any_try() {
    for spins in [None, Some(0), Some(1000)] {
        let (sender, receiver) = pair();
        let mut lines = LineReader::new(&receiver, 1 << 20);
        if let Some(spins) = spins {
            lines.set_spins(spins);
        }
        for len in [200_000, 50_000] {
            send_all(&sender, &[&vec![b'x'; len][..], b"\n"].concat()).unwrap();
            kernel::wait_until_unread(&receiver, len + 1).unwrap();
            assert_eq!(lines.next_line().unwrap().map(<[u8]>::len), Some(len));
        }
        send_all(&sender, b"one\ntwo\nthr").unwrap();
        kernel::wait_until_unread(&receiver, 11).unwrap();
        let before = receives();
        lines.set_deadline(Some(past()));
        assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::TimedOut, "{spins:?}");
        assert_eq!(receives(), before, "{spins:?}: tried all the same");

        // Also where the line is in the buffer, and where a part of one is.
        lines.set_deadline(None);
        assert_eq!(lines.next_line().unwrap(), Some(&b"one"[..]));
        lines.set_deadline(Some(past()));
        assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::TimedOut, "{spins:?}");
        lines.set_deadline(Some(soon()));
        assert_eq!(lines.next_line().unwrap(), Some(&b"two"[..]));
        lines.set_deadline(Some(at_once()));
        assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::TimedOut, "{spins:?}");
        assert_eq!(lines.partial(), b"thr");
        lines.set_deadline(Some(past()));
        assert_eq!(lines.next_line().unwrap_err().kind(), ErrorKind::TimedOut, "{spins:?}");
        send_all(&sender, b"ee\n").unwrap();
        lines.set_deadline(Some(soon()));
        assert_eq!(lines.next_line().unwrap(), Some(&b"three"[..]), "{spins:?}: lost");
    }
}

#[test]
fn a_deadline_holds_while_a_flood_meets_a_slow_consumer() {
    for (len, spins) in [(0, 0), (0, 1000), (80, 0), (80, 1000), (100_000, 1000)] {
        let (sender, receiver) = pair();
        thread::scope(|scope| {
            scope.spawn(move || {
                let line = [&vec![b'x'; len][..], b"\n"].concat();
                let piece = line.repeat(1 + 4096 / line.len());
                while send_all(&sender, &piece).is_ok() {} // until nobody reads any more
            });
            let mut lines = LineReader::new(&receiver, 1 << 20);
            lines.set_spins(spins);
            let until = Instant::now() + millis(100);
            lines.set_deadline(Some(until));
            let mut after = 0;
            loop {
                match lines.next_line() {
                    Ok(Some(lent)) => assert_eq!(lent.len(), len),
                    Ok(None) => panic!("the flood has ended"),
                    Err(e) => break assert_eq!(e.kind(), ErrorKind::TimedOut),
                }
                after += usize::from(Instant::now() >= until);
                thread::sleep(millis(1)); // the consumer is slow
            }
            // What was lent too late: one KiB at the most, or twice a line.
            assert!(after <= 2 + 1024 / (1 + len), "{len} bytes: {after} lines too late");
            kernel::reset_on_close(&receiver).unwrap();
            drop(receiver);
        });
    }
}
