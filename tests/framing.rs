//! The four framings: whole messages come out whole, and what is broken is told apart.

mod support;

use std::io::{self, ErrorKind};
use std::thread;

use libc::SHUT_WR;
use stage::{kernel, memory};
use support::*;
use tcp_stream_io::framing::length::*;
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::framing::tlv::{Tlv, TlvError, parse_tlvs};
use tcp_stream_io::{UniqueFd, send_all, sys};

// ---- length prefix ----

const CAP: usize = 1000;

type SendFrame = fn(&UniqueFd, &[u8], usize) -> io::Result<()>;
const SENDERS: [(&str, SendFrame); 2] = [
    ("send_frame", |fd, payload, cap| send_frame(fd, payload, cap)),
    ("with a deadline", |fd, payload, cap| send_frame_with_deadline(fd, payload, cap, soon())),
];

type RecvFrame = fn(&UniqueFd, usize) -> io::Result<Option<Vec<u8>>>;
const RECEIVERS: [(&str, RecvFrame); 2] = [
    ("recv_frame", |fd, cap| recv_frame(fd, cap)),
    ("with a deadline", |fd, cap| recv_frame_with_deadline(fd, cap, soon())),
];

#[test]
fn a_frame_on_the_wire_is_its_length_in_four_bytes_and_its_payload() {
    for (name, send) in SENDERS {
        let (ours, peer) = pair();
        send(&ours, b"hello", CAP).unwrap();
        drop(ours);
        assert_eq!(read_to_end(&peer).0, b"\0\0\0\x05hello", "{name}");
    }
}

#[test]
fn header_and_payload_leave_by_one_send() {
    for (name, send) in SENDERS {
        let (ours, _peer) = pair();
        let before = kernel::segments_sent(&ours).unwrap();
        send(&ours, b"hello", CAP).unwrap();
        assert_eq!(kernel::segments_sent(&ours).unwrap() - before, 1, "{name}");
    }
}

#[test]
fn frames_come_out_as_they_went_in_back_to_back() {
    // Empty, one byte, exactly the cap.
    let payloads = [0, 1, 0, 5, 65_535, 65_536, 65_537, 300_000].map(pattern);
    let cap = 300_000;
    for ((name, send), (_, recv)) in SENDERS.into_iter().zip(RECEIVERS) {
        let (ours, peer) = pair();
        thread::scope(|s| {
            s.spawn(|| {
                payloads.iter().for_each(|p| send(&ours, p, cap).unwrap());
                sys::shutdown(&ours, SHUT_WR).unwrap();
            });
            for payload in &payloads {
                let got = recv(&peer, cap).unwrap().expect("a frame");
                assert!(got == *payload, "{name}: {} bytes for {}", got.len(), payload.len());
            }
            assert!(recv(&peer, cap).unwrap().is_none(), "{name}: a clean end");
        });
    }
}

#[test]
fn a_frame_that_drips_is_whole() {
    for ((name, recv), blocks_in) in RECEIVERS.into_iter().zip([libc::SYS_recvfrom, SYS_POLL]) {
        let me = Interrupter::of_this_thread();
        let (ours, peer) = pair();
        thread::scope(|s| {
            s.spawn(|| {
                for byte in b"\0\0\0\x05hello".chunks(1) {
                    me.interrupt_in(blocks_in);
                    me.wait_until_blocked_in(blocks_in);
                    send_all(&peer, byte).unwrap();
                }
            });
            assert_eq!(recv(&ours, CAP).unwrap().expect(name), b"hello", "{name}");
        });
    }
}

#[test]
fn a_cap_of_zero_lets_an_empty_frame_pass_and_the_largest_cap_any() {
    for ((name, send), (_, recv)) in SENDERS.into_iter().zip(RECEIVERS) {
        let (ours, peer) = pair();
        send(&ours, b"", 0).unwrap();
        assert_eq!(recv(&peer, 0).unwrap(), Some(vec![]), "{name}");
        assert_eq!(send(&ours, b"x", 0).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        send(&ours, b"x", usize::MAX).unwrap();
        assert_eq!(recv(&peer, usize::MAX).unwrap(), Some(b"x".to_vec()), "{name}");
        send(&ours, b"x", 1).unwrap();
        let e = recv(&peer, 0).unwrap_err();
        assert_eq!(e.to_string(), "a frame claims 1 bytes, over the cap of 0", "{name}");
    }
}

/// What the error says where a frame's header and five bytes of payload are cut.
fn cut_after(bytes: usize) -> String {
    match bytes.checked_sub(4) {
        // The first `recv` has got something, and `recv_exact` then less than the rest.
        None => format!("after 0 of {} bytes, the last of 4", 4 - bytes),
        Some(got) => format!("after {got} of 5 bytes"),
    }
}

#[test]
fn a_frame_cut_at_any_byte_is_not_a_frame() {
    let frame = b"\0\0\0\x05hello";
    for (name, recv) in RECEIVERS {
        assert!(recv(&stream_of(b""), CAP).unwrap().is_none(), "{name}: a clean end");
        for cut in 1..frame.len() {
            let conn = stream_of(&frame[..cut]);
            kernel::wait_until_peer_ended(&conn).unwrap();
            let e = recv(&conn, CAP).unwrap_err();
            assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::UnexpectedEof, None), "{name}");
            let text = format!("the peer ended its stream {}", cut_after(cut));
            assert_eq!(e.to_string(), text, "{name}, {cut} bytes");
        }
        assert_eq!(recv(&stream_of(frame), CAP).unwrap().unwrap(), b"hello", "{name}");
    }
}

#[test]
fn a_header_that_drips_and_ends_is_counted_to_its_last_byte() {
    let (ours, peer) = pair();
    let me = Interrupter::of_this_thread();
    thread::scope(|s| {
        s.spawn(|| {
            for byte in [0, 0, 0] {
                me.wait_until_blocked_in(libc::SYS_recvfrom);
                send_all(&peer, &[byte]).unwrap();
                kernel::wait_until_read(&peer, &ours).unwrap();
            }
            me.wait_until_blocked_in(libc::SYS_recvfrom);
            sys::shutdown(&peer, SHUT_WR).unwrap();
        });
        let text = "the peer ended its stream after 2 of 3 bytes, the last of 4";
        assert_eq!(recv_frame(&ours, CAP).unwrap_err().to_string(), text);
    });
}

#[test]
fn what_the_kernel_says_inside_a_frame_keeps_its_errno() {
    for (name, recv) in RECEIVERS {
        for sent in [&b""[..], b"\0\0", b"\0\0\0\x05", b"\0\0\0\x05he"] {
            let (ours, peer) = pair();
            send_all(&peer, sent).unwrap();
            if !sent.is_empty() {
                kernel::wait_until_unread(&ours, sent.len()).unwrap();
            }
            kernel::reset_on_close(&peer).unwrap();
            drop(peer);
            kernel::wait_until_peer_ended(&ours).unwrap();
            let e = recv(&ours, CAP).unwrap_err();
            assert_eq!(e.raw_os_error(), Some(libc::ECONNRESET), "{name}, {sent:?}");
        }
    }
    for (name, send) in SENDERS {
        let (ours, _peer) = pair();
        sys::shutdown(&ours, SHUT_WR).unwrap();
        let e = send(&ours, b"hello", CAP).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EPIPE), "{name}");
    }
}

#[test]
fn a_claim_over_the_cap_is_invalid_data() {
    let claims = [(CAP as u32 + 1, CAP), (u32::MAX, CAP), (u32::MAX, DEFAULT_CAP), (1, 0)];
    for (name, recv) in RECEIVERS {
        for (claim, cap) in claims {
            let e = recv(&stream_of(&claim.to_be_bytes()), cap).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidData, "{name}");
            let text = format!("a frame claims {claim} bytes, over the cap of {cap}");
            assert_eq!(e.to_string(), text, "{name}");
        }
        // A claim of exactly the cap may be true. Here it was not.
        let e = recv(&stream_of(&(CAP as u32).to_be_bytes()), CAP).unwrap_err();
        assert_eq!(e.to_string(), "the peer ended its stream after 0 of 1000 bytes", "{name}");
    }
}

#[test]
fn no_memory_is_taken_for_a_claim_over_the_cap() {
    const KIB: usize = 1024;
    let (eof, invalid) = (Some(ErrorKind::UnexpectedEof), Some(ErrorKind::InvalidData));
    let table = [
        ("4 GiB - 1 claimed", u32::MAX, 0, invalid, 0..KIB), // the error and its text
        ("one byte over the cap", DEFAULT_CAP as u32 + 1, 0, invalid, 0..KIB),
        ("exactly the cap, 100 KiB sent", DEFAULT_CAP as u32, 100 * KIB, eof, 0..1025 * KIB),
        ("200 KiB claimed and sent", 200 * KIB as u32, 200 * KIB, None, 200 * KIB..201 * KIB),
    ];
    for (name, claim, sent, error, limits) in table {
        for (_, recv) in RECEIVERS {
            let conn = stream_of(&[&claim.to_be_bytes()[..], &vec![0; sent]].concat());
            let (result, peak) = memory::peak_of(|| recv(&conn, DEFAULT_CAP));
            assert_eq!(result.err().map(|e| e.kind()), error, "{name}");
            assert!(limits.contains(&peak), "{name}: {peak} bytes, not {limits:?}");
        }
    }
}

#[test]
fn of_a_payload_over_the_cap_no_byte_leaves() {
    for (name, send) in SENDERS {
        let (ours, peer) = pair();
        let e = send(&ours, &pattern(CAP + 1), CAP).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{name}");
        assert_eq!(e.to_string(), "a payload of 1001 bytes is over the cap of 1000");
        // The connection is as good as before: exactly the cap goes through, and nothing else.
        send(&ours, &pattern(CAP), CAP).unwrap();
        drop(ours);
        assert_eq!(recv_frame(&peer, CAP).unwrap(), Some(pattern(CAP)));
        assert_eq!(recv_frame(&peer, CAP).unwrap(), None, "{name}: a clean end");
    }
}

#[cfg(target_pointer_width = "64")]
#[test]
fn a_header_never_announces_less_than_follows() {
    let four_gib = u32::MAX as usize + 1;
    assert_eq!(encode_header(four_gib - 1, usize::MAX).unwrap(), [0xff; 4]);
    for len in [four_gib, four_gib + 5, usize::MAX] {
        for cap in [CAP, len, usize::MAX] {
            let e = encode_header(len, cap).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidInput, "{len}: a cast would wrap");
            let text = format!("a payload of {len} bytes is longer than four bytes can say");
            assert_eq!(e.to_string(), text);
        }
    }
    for len in [0, 1, 255, 256, 65_536, DEFAULT_CAP, four_gib - 1] {
        let header = encode_header(len, usize::MAX).unwrap();
        assert_eq!(decode_header(header, usize::MAX).unwrap(), len);
        assert_eq!(decode_header(header, len).unwrap(), len);
    }
}

#[cfg(target_pointer_width = "64")]
#[test]
fn a_payload_of_5_gib_is_too_long_for_a_header_under_any_cap() {
    const GIB: usize = 1 << 30;
    // Address space only: no page of it is ever touched.
    let (access, kind) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY:
    // - a new mapping at an address that the kernel chooses hits no memory that is in use.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 5 * GIB, access, kind, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED, "{}", sys::last_errno());
    // SAFETY:
    // - so much is mapped there, zeroed and for reading, until the end of the process.
    let payload: &[u8] = unsafe { std::slice::from_raw_parts(at.cast(), 5 * GIB) };
    for (name, send) in SENDERS {
        let (ours, peer) = pair();
        let (result, peak) = memory::peak_of(|| send(&ours, payload, 10 * GIB));
        let text = "a payload of 5368709120 bytes is longer than four bytes can say";
        assert_eq!(result.unwrap_err().to_string(), text, "{name}");
        assert!(peak < 1024, "{name}: {peak} bytes");
        drop(ours);
        assert_eq!(read_to_end(&peer).0, b"", "{name}: something has left");
    }
}

// ---- lines ----

/// What a stream of these bytes must be read as: the whole lines, and the tail without an end.
fn lines_of(bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut parts: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let tail = parts.pop().unwrap();
    (parts.iter().map(|p| p.strip_suffix(b"\r").unwrap_or(p).to_vec()).collect(), tail)
}

/// Lines up to the end of the stream or to the first error.
fn read_lines(lines: &mut LineReader) -> (Vec<Vec<u8>>, Option<ErrorKind>) {
    let mut all = Vec::new();
    loop {
        match lines.recv_line() {
            Ok(Some(line)) => all.push(line),
            Ok(None) => return (all, None),
            Err(e) => return (all, Some(e.kind())),
        }
    }
}

/// That it stays as it has failed: the same error every time, to the last word.
#[track_caller]
fn assert_stays_failed(lines: &mut LineReader, kind: ErrorKind, errno: Option<i32>, text: &str) {
    let tail = lines.tail().to_vec();
    for _ in 0..3 {
        let e = lines.recv_line().unwrap_err();
        assert_eq!((e.kind(), e.raw_os_error(), e.to_string().as_str()), (kind, errno, text));
        assert_eq!(lines.tail(), tail);
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
        assert_eq!(lines.tail(), tail, "{cut} bytes");
        assert_eq!(error, (!tail.is_empty()).then_some(ErrorKind::UnexpectedEof), "{cut} bytes");
        if tail.is_empty() {
            assert_eq!(lines.recv_line().unwrap(), None, "{cut} bytes: an end stays one");
        } else {
            let text = format!("the stream ended after {} bytes of a line", tail.len());
            assert_stays_failed(&mut lines, ErrorKind::UnexpectedEof, None, &text);
        }
    }
}

#[test]
fn lines_split_at_any_byte_are_whole() {
    let me = Interrupter::of_this_thread();
    for cut in 1..LINES.len() {
        let (conn, peer) = pair();
        let (got, error) = thread::scope(|s| {
            s.spawn(|| {
                send_all(&peer, &LINES[..cut]).unwrap();
                kernel::wait_until_read(&peer, &conn).unwrap();
                me.wait_until_blocked_in(libc::SYS_recvfrom);
                send_all(&peer, &LINES[cut..]).unwrap();
                sys::shutdown(&peer, SHUT_WR).unwrap();
            });
            read_lines(&mut LineReader::new(&conn, 8))
        });
        assert_eq!((got, error), (lines_of(LINES).0, None), "{cut} bytes");
    }
}

#[test]
fn lines_that_drip_are_whole() {
    let me = Interrupter::of_this_thread();
    let (conn, peer) = pair();
    let (got, error) = thread::scope(|s| {
        s.spawn(|| {
            for byte in LINES.chunks(1) {
                me.interrupt_in(libc::SYS_recvfrom);
                me.wait_until_blocked_in(libc::SYS_recvfrom);
                send_all(&peer, byte).unwrap();
            }
            sys::shutdown(&peer, SHUT_WR).unwrap();
        });
        read_lines(&mut LineReader::new(&conn, 8))
    });
    assert_eq!((got, error), (lines_of(LINES).0, None));
}

#[test]
fn a_line_over_the_cap_is_an_error_and_stays_one() {
    let table: [&[u8]; 8] = [
        b"12345\n", // one over
        b"12345\r\n",
        b"1234\r\r\n", // the first \r belongs to the line
        b"123456\n",
        b"12345678901234567890123\n",
        b"1234567890\r\r\r\r\r\n",
        b"12345",     // it may go on for ever
        b"12345\n\n", // whole lines after it are no lines any more
    ];
    for long in table {
        let conn = stream_of(&[b"ok\n1234\n1234\r\n", long].concat());
        let mut lines = LineReader::new(&conn, 4);
        for fits in [&b"ok"[..], b"1234", b"1234"] {
            assert_eq!(lines.recv_line().unwrap().unwrap(), fits, "{}", long.escape_ascii());
        }
        let text = "a line is longer than the cap of 4 bytes";
        assert_stays_failed(&mut lines, ErrorKind::InvalidData, None, text);
        assert_eq!(lines.tail(), long, "{}", long.escape_ascii());
    }
}

#[test]
fn after_a_line_over_the_cap_the_tail_has_what_followed_it() {
    let conn = stream_of(b"ok\n12345\nnext\nla");
    let mut lines = LineReader::new(&conn, 4);
    assert_eq!(lines.recv_line().unwrap().unwrap(), b"ok");
    assert_eq!(lines.recv_line().unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(lines.tail(), b"12345\nnext\nla");
}

#[test]
fn eagain_is_a_line_readers_last_word_whatever_comes_later() {
    let (conn, peer) = pair();
    sys::set_nonblocking(&conn, true).unwrap();
    let mut lines = LineReader::new(&conn, 8);
    send_all(&peer, b"one\ntw").unwrap();
    kernel::wait_until_acked(&peer).unwrap();
    assert_eq!(lines.recv_line().unwrap().unwrap(), b"one");
    assert_eq!(lines.recv_line().unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    send_all(&peer, b"o\n").unwrap();
    kernel::wait_until_acked(&peer).unwrap();
    assert_eq!(lines.recv_line().unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    assert_eq!(lines.tail(), b"tw");
}

#[test]
fn a_line_without_an_end_is_refused_at_the_cap_and_no_more_is_kept() {
    let (conn, peer) = pair();
    thread::scope(|s| {
        s.spawn(|| while send_all(&peer, &[b'x'; 4096]).is_ok() {});
        let mut lines = LineReader::new(&conn, 10_000);
        let (result, peak) = memory::peak_of(|| lines.recv_line());
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidData);
        assert!((10_001..10_001 + 4096).contains(&lines.tail().len()), "{}", lines.tail().len());
        assert!(peak < 40_000, "{peak} bytes");
        sys::shutdown(&peer, SHUT_WR).unwrap(); // which ends the sender, too
    });
}

#[test]
fn a_cap_of_zero_lets_empty_lines_pass_and_no_other() {
    let conn = stream_of(b"\n\r\nx\n");
    let mut lines = LineReader::new(&conn, 0);
    assert_eq!(lines.recv_line().unwrap(), Some(vec![]));
    assert_eq!(lines.recv_line().unwrap(), Some(vec![]));
    let text = "a line is longer than the cap of 0 bytes";
    assert_stays_failed(&mut lines, ErrorKind::InvalidData, None, text);
}

#[test]
fn the_largest_cap_takes_any_line() {
    let mut long = pattern(200_000);
    long.retain(|byte| *byte != b'\n');
    let (sender, conn) = pair();
    thread::scope(|s| {
        let bytes = [&long[..], b"\n"].concat();
        s.spawn(move || {
            send_all(&sender, &bytes).unwrap();
            drop(sender);
        });
        let mut lines = LineReader::new(&conn, usize::MAX);
        assert!(lines.recv_line().unwrap().unwrap() == long, "not what was sent");
        assert_eq!(lines.recv_line().unwrap(), None);
    });
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
    assert_eq!(lines.recv_line().unwrap().unwrap(), b"one");
    // The kernel tells it once, and then says end of stream.
    let (errno, text) = (libc::ECONNRESET, "Connection reset by peer (os error 104)");
    assert_stays_failed(&mut lines, ErrorKind::ConnectionReset, Some(errno), text);
    assert_eq!(lines.tail(), b"tw");
    assert_eq!(sys::recv(&conn, &mut [0], 0).unwrap(), 0);
}

#[test]
fn what_the_kernel_says_of_a_line_keeps_its_errno() {
    let (conn, _peer) = pair();
    sys::set_nonblocking(&conn, true).unwrap();
    let mut lines = LineReader::new(&conn, 8);
    let (errno, text) = (libc::EAGAIN, "Resource temporarily unavailable (os error 11)");
    assert_stays_failed(&mut lines, ErrorKind::WouldBlock, Some(errno), text);
}

#[test]
fn one_recv_takes_all_lines_that_have_arrived() {
    let conn = stream_of(&b"a line\n".repeat(100));
    kernel::wait_until_unread(&conn, 700).unwrap();
    let mut lines = LineReader::new(&conn, 4096);
    assert_eq!(lines.recv_line().unwrap().unwrap(), b"a line");
    assert_eq!(kernel::unread(&conn).unwrap(), 0, "left in the kernel");
    assert_eq!(lines.tail(), b"a line\n".repeat(99));
    assert_eq!(read_lines(&mut lines), (vec![b"a line".to_vec(); 99], None));
}

// ---- records ----

#[test]
fn records_are_whole_or_not_at_all() {
    let record: [u8; 128] = pattern(128).try_into().unwrap();
    let peer = stream_of(&[record, record].concat());
    assert_eq!(recv_record::<128>(&peer).unwrap(), Some(record));
    assert_eq!(recv_record::<128>(&peer).unwrap(), Some(record));
    assert_eq!(recv_record::<128>(&peer).unwrap(), None);

    for cut in 1..128 {
        let conn = stream_of(&record[..cut]);
        kernel::wait_until_peer_ended(&conn).unwrap();
        let e = recv_record::<128>(&conn).unwrap_err();
        let left = 128 - cut;
        let text = format!("the peer ended its stream after 0 of {left} bytes, the last of 128");
        assert_eq!((e.kind(), e.to_string()), (ErrorKind::UnexpectedEof, text));
    }
    let conn = stream_of(b"ab");
    assert_eq!(recv_record::<1>(&conn).unwrap(), Some([b'a']));
    assert_eq!(recv_record::<1>(&conn).unwrap(), Some([b'b']));
    assert_eq!(recv_record::<1>(&conn).unwrap(), None);
}

#[test]
fn a_record_that_drips_is_whole_and_a_reset_inside_it_keeps_its_errno() {
    let record: [u8; 8] = *b"a record";
    let me = Interrupter::of_this_thread();
    let (ours, peer) = pair();
    thread::scope(|s| {
        s.spawn(|| {
            for byte in record.chunks(1) {
                me.interrupt_in(libc::SYS_recvfrom);
                me.wait_until_blocked_in(libc::SYS_recvfrom);
                send_all(&peer, byte).unwrap();
            }
        });
        assert_eq!(recv_record::<8>(&ours).unwrap(), Some(record));
    });
    send_all(&peer, b"a rec").unwrap();
    kernel::wait_until_unread(&ours, 5).unwrap();
    kernel::reset_on_close(&peer).unwrap();
    drop(peer);
    kernel::wait_until_peer_ended(&ours).unwrap();
    let e = recv_record::<8>(&ours).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::ECONNRESET));
}

// ---- TLV ----

/// A field's bytes, as the article has them.
fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

#[test]
fn tlvs_come_out_as_they_went_in() {
    let (empty, long) = (pattern(0), pattern(65_535));
    let fields = [(0, &b"hello"[..]), (255, &empty), (7, &long), (7, b"x")];
    let message = fields.map(|(kind, value)| field(kind, value)).concat();
    let parsed: Vec<Tlv> = parse_tlvs(&message).collect::<Result<_, _>>().unwrap();
    assert_eq!(parsed, fields.map(|(kind, value)| Tlv { kind, value }));
    assert_eq!(parse_tlvs(b"").next(), None);
}

#[test]
fn a_message_cut_anywhere_gives_its_whole_fields_and_one_error() {
    let fields = [(1, &b"hi"[..]), (2, b""), (3, b"three")];
    let mut message = Vec::new();
    let mut starts = Vec::new(); // where each field begins, and how long it is
    for (kind, value) in fields {
        starts.push((message.len(), 3 + value.len()));
        message.extend(field(kind, value));
    }
    for cut in 0..=message.len() {
        let mut expected = Vec::new();
        for ((position, len), (kind, value)) in starts.iter().copied().zip(fields) {
            let have = cut.saturating_sub(position);
            // Before the length has been read, a field is known to need its header.
            let need = if have < 3 { 3 } else { len };
            if have >= len {
                expected.push(Ok(Tlv { kind, value }));
            } else if have > 0 {
                expected.push(Err(TlvError { position, need, have }));
            }
        }
        let mut parsed = parse_tlvs(&message[..cut]);
        let got: Vec<_> = parsed.by_ref().collect();
        assert_eq!(got, expected, "{cut} bytes");
        assert_eq!(parsed.next(), None, "{cut} bytes");
    }
}

#[test]
fn no_small_message_panics_or_loses_a_byte() {
    // All messages of up to seven of these bytes, about 100,000.
    let alphabet = [0, 1, 2, 3, 255];
    let mut messages: Vec<Vec<u8>> = vec![vec![]];
    for first in 0.. {
        let Some(message) = messages.get(first).cloned() else { break };
        if message.len() < 7 {
            messages.extend(alphabet.map(|byte| [&message[..], &[byte]].concat()));
        }
        let mut seen = 0;
        for field in parse_tlvs(&message) {
            assert!(seen < message.len(), "something after the end: {message:?}");
            match field {
                Ok(tlv) => seen += 3 + tlv.value.len(),
                Err(TlvError { position, need, have }) => {
                    assert_eq!((position, have), (seen, message.len() - seen), "{message:?}");
                    assert!(need > have, "{message:?}");
                    seen = message.len();
                }
            }
        }
        assert_eq!(seen, message.len(), "{message:?}");
    }
    assert_eq!(messages.len(), (5usize.pow(8) - 1) / 4);
}

#[test]
fn a_damaged_message_says_where_and_by_how_much() {
    let e = parse_tlvs(b"\x01\x00\x05ab").find_map(Result::err).unwrap();
    assert_eq!(e.to_string(), "the field at byte 0 needs 8 bytes, but only 5 are left");
    // To a caller that has an io::Result, it is one line.
    let e = io::Error::new(ErrorKind::InvalidData, e);
    assert!(e.get_ref().unwrap().is::<TlvError>());
}
