//! The four framings: whole messages come out whole, and what is broken is told apart.

mod support;

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Instant;

use libc::SHUT_WR;
use stage::{kernel, memory};
use support::*;
use tcp_stream_io::framing::line::{LineReader, send_line};
use tcp_stream_io::framing::record::{recv_record, send_record};
use tcp_stream_io::framing::tlv::{Tlv, TlvError, parse_tlvs, push_tlv};
use tcp_stream_io::framing::{length, length::*};
use tcp_stream_io::stream::Partial;
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
fn frames_come_out_as_they_went_in_back_to_back() {
    // Empty, one byte, exactly the cap, more than recv_frame reserves at once.
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
fn a_frame_cut_at_any_byte_is_not_a_frame() {
    let frame = b"\0\0\0\x05hello";
    for (name, recv) in RECEIVERS {
        assert!(recv(&stream_of(b""), CAP).unwrap().is_none(), "{name}: a clean end");
        for cut in 1..frame.len() {
            let e = recv(&stream_of(&frame[..cut]), CAP).unwrap_err();
            let (got, of) = if cut < 4 { (cut, 4) } else { (cut - 4, 5) };
            let text = format!("got {got} of {of} bytes, then the peer ended its stream");
            assert_eq!(e.kind(), ErrorKind::UnexpectedEof, "{name}, {cut} bytes");
            assert_eq!(e.to_string(), text, "{name}, {cut} bytes");
        }
        assert_eq!(recv(&stream_of(frame), CAP).unwrap().unwrap(), b"hello", "{name}");
    }
}

#[test]
fn a_claim_over_the_cap_is_invalid_data() {
    let claims = [(CAP as u32 + 1, CAP), (u32::MAX, CAP), (u32::MAX, DEFAULT_CAP), (1, 0)];
    for (name, recv) in RECEIVERS {
        for (claim, cap) in claims {
            let e = recv(&stream_of(&claim.to_be_bytes()), cap).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidData, "{name}");
            assert_eq!(
                e.to_string(),
                format!("a frame claims {claim} bytes, over the cap of {cap}")
            );
        }
        // A claim of exactly the cap may be true. Here it was not.
        let e = recv(&stream_of(&(CAP as u32).to_be_bytes()), CAP).unwrap_err();
        assert_eq!(e.to_string(), "got 0 of 1000 bytes, then the peer ended its stream", "{name}");
    }
}

#[test]
fn memory_follows_what_arrives_and_not_what_is_claimed() {
    const KIB: usize = 1024;
    const NEARLY_1_MIB: u32 = 0x000f_ffff;
    let (eof, invalid) = (Some(ErrorKind::UnexpectedEof), Some(ErrorKind::InvalidData));
    let table = [
        ("4 GiB - 1 claimed", u32::MAX, 0, invalid, 0..KIB), // the error and its text
        ("one byte over the cap", DEFAULT_CAP as u32 + 1, 0, invalid, 0..KIB),
        ("1 MiB - 1 claimed, nothing sent", NEARLY_1_MIB, 0, eof, 0..65 * KIB),
        ("1 MiB - 1 claimed, 100 KiB sent", NEARLY_1_MIB, 100 * KIB, eof, 100 * KIB..165 * KIB),
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
        let e = encode_header(len, usize::MAX).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{len}: a cast would wrap");
    }
    for len in [0, 1, 255, 256, 65_536, DEFAULT_CAP] {
        let header = encode_header(len, DEFAULT_CAP).unwrap();
        assert_eq!(length::decode_header(header, DEFAULT_CAP).unwrap(), len);
    }
}

/// What an error must count that ended a frame of `len` bytes, of which the header and `sent` bytes
/// had come, where `left` of those have not been read: bytes of the header, or of the payload.
fn counted(len: usize, sent: usize, left: usize) -> (usize, usize) {
    match (4 + sent - left).checked_sub(4) {
        Some(got) => (got, len),
        None => (4 + sent - left, 4),
    }
}

#[test]
fn a_frame_that_stops_in_the_middle_times_out_with_its_count() {
    let (ours, peer) = pair();
    send_all(&peer, b"\0\0\0\x05he").unwrap();
    kernel::wait_until_unread(&ours, 6).unwrap();
    let deadline = Instant::now() + millis(100);
    let e = recv_frame_with_deadline(&ours, CAP, deadline).unwrap_err();
    assert!(Instant::now() >= deadline, "before its time");
    assert_eq!(e.kind(), ErrorKind::TimedOut);
    // 2 of 5, unless this thread did not get to run before the deadline: what is left tells.
    let (got, of) = counted(5, 2, kernel::unread(&ours).unwrap());
    assert_eq!(e.to_string(), format!("got {got} of {of} bytes, then the deadline passed"));
}

#[test]
fn an_error_inside_a_frame_counts_from_the_start_of_its_payload() {
    const SENT: usize = 70_000; // more than recv_frame reserves at once
    let (header, sent) = (encode_header(DEFAULT_CAP, DEFAULT_CAP).unwrap(), pattern(SENT));
    let start = [&header[..], &sent].concat();
    let assert_counts = |e: io::Error, left, kind, why: &str| {
        let (got, of) = counted(DEFAULT_CAP, SENT, left);
        assert_eq!(e.kind(), kind);
        assert_eq!(e.to_string(), format!("got {got} of {of} bytes, then {why}"));
        let partial = Partial::of(&e).unwrap();
        assert_eq!((partial.done(), partial.wanted()), (got, of), "{why}");
    };
    for (_, recv) in RECEIVERS {
        let e = recv(&stream_of(&start), DEFAULT_CAP).unwrap_err();
        assert_counts(e, 0, ErrorKind::UnexpectedEof, "the peer ended its stream");
    }
    let (ours, peer) = pair();
    send_all(&peer, &start).unwrap();
    kernel::wait_until_unread(&ours, start.len()).unwrap();
    let deadline = Instant::now() + millis(100);
    let e = recv_frame_with_deadline(&ours, DEFAULT_CAP, deadline).unwrap_err();
    let left = kernel::unread(&ours).unwrap();
    assert_counts(e, left, ErrorKind::TimedOut, "the deadline passed");
}

// ---- lines ----

/// What a stream of these bytes must be read as: the whole lines, and the tail without an end.
fn lines_of(bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut parts: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let tail = parts.pop().unwrap();
    (parts.iter().map(|p| p.strip_suffix(b"\r").unwrap_or(p).to_vec()).collect(), tail)
}

/// Lines up to the end of the stream, to the first error, or until no more have arrived.
fn read_lines(lines: &mut LineReader<&UniqueFd>) -> (Vec<Vec<u8>>, Option<ErrorKind>) {
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
            let text = "a line is longer than 4 bytes; skip_line() goes on behind it";
            assert_eq!(e.to_string(), text);
            // Up to where the line ends, though what is behind it has arrived as well.
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
    let me = Interrupter::of_this_thread();
    let (conn, peer) = pair();
    let mut lines = LineReader::new(&conn, 4);
    thread::scope(|s| {
        s.spawn(|| {
            for byte in b"12345678901234567890\nnext\n".chunks(1) {
                me.wait_until_blocked_in(libc::SYS_recvfrom);
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
    std::thread::scope(|scope| {
        scope.spawn(move || send_all(sender, &long).unwrap());
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
fn a_line_with_a_newline_inside_is_not_sent() {
    let (ours, peer) = pair();
    for line in [&b"\n"[..], b"a\nb", b"a\n"] {
        let e = send_line(&ours, line).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
    }
    for line in [&b"a"[..], b"", b"b\r"] {
        send_line(&ours, line).unwrap();
    }
    drop(ours);
    assert_eq!(read_to_end(&peer).0, b"a\n\nb\r\n");
}

// ---- records ----

#[test]
fn records_are_whole_or_not_at_all() {
    let record: [u8; 128] = pattern(128).try_into().unwrap();
    let (ours, peer) = pair();
    send_record(&ours, &record).unwrap();
    send_record(&ours, &record).unwrap();
    drop(ours);
    assert_eq!(recv_record::<128>(&peer).unwrap(), Some(record));
    assert_eq!(recv_record::<128>(&peer).unwrap(), Some(record));
    assert_eq!(recv_record::<128>(&peer).unwrap(), None);

    for cut in 1..128 {
        let e = recv_record::<128>(stream_of(&record[..cut])).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::UnexpectedEof);
        let partial = Partial::of(&e).unwrap();
        assert_eq!((partial.done(), partial.wanted()), (cut, 128));
    }
}

// ---- TLV ----

#[test]
fn tlvs_come_out_as_they_went_in() {
    let (empty, long) = (pattern(0), pattern(65_535));
    let fields = [(0, &b"hello"[..]), (255, &empty), (7, &long), (7, b"x")];
    let mut message = Vec::new();
    for (kind, value) in fields {
        push_tlv(&mut message, kind, value).unwrap();
    }
    let parsed: Vec<Tlv> = parse_tlvs(&message).collect::<Result<_, _>>().unwrap();
    assert_eq!(parsed, fields.map(|(kind, value)| Tlv { kind, value }));

    let whole = message.clone();
    let e = push_tlv(&mut message, 1, &pattern(65_536)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert!(message == whole, "a value that does not fit leaves the message as it was");
}

#[test]
fn a_message_cut_anywhere_gives_its_whole_fields_and_one_error() {
    let fields = [(1, &b"hi"[..]), (2, b""), (3, b"three")];
    let mut message = Vec::new();
    let mut starts = Vec::new(); // where each field begins, and how long it is
    for (kind, value) in fields {
        starts.push((message.len(), 3 + value.len()));
        push_tlv(&mut message, kind, value).unwrap();
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
            assert!(seen < message.len(), "something behind the end: {message:?}");
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
fn a_damaged_message_is_invalid_data_to_io() {
    let e = parse_tlvs(b"\x01\x00\x05ab").find_map(Result::err).unwrap();
    assert_eq!(e.to_string(), "the field at byte 0 needs 8 bytes, but only 5 are left");
    assert_eq!(io::Error::from(e).kind(), ErrorKind::InvalidData);
}
