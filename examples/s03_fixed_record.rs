//! Records of a fixed size need no mark: one `recv_exact` of 128 bytes is one record.
//!
//! Article 3.3. man: recv(2).
//! Claim X1: A record of 32 + 96 bytes is one recv_exact of 128.
//!
//! A header of 32 bytes and a body of 96, always. No byte on the wire says so: both ends have to
//! know. And nothing keeps the 128 bytes together on their way, so it takes the loop here, too.
//!
//! Expect: of a record that comes in pieces one `recv` gets the first; `recv_exact` (it is in
//! `recv_record`) gets all. Two records in one piece come out as two. A cut one is UnexpectedEof.
//!
//! Change and see: `split_at(7)` to 128; BODY to 95 (a byte less in each record: every one from
//! the first on ends in the next, and no call fails before the end).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const HEADER: usize = 32;
const BODY: usize = 96;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The rest of the first record leaves when the server has had its one `recv`.
    let conn = connect_to(&at.host, at.port)?;
    let first = record('a');
    let (start, rest) = first.split_at(7);
    out.note("sends 7 bytes of a record, then the rest in pieces of 30");
    send_all(&conn, start)?;
    recv_exact(&conn, &mut [0])?;

    // Each piece waits until the one before has arrived, so that it travels alone.
    for piece in rest.chunks(30) {
        send_all(&conn, piece)?;
        kernel::wait_until_acked(&conn)?;
    }

    // The opposite: more than one record in a single piece, and an end in the middle of one.
    out.note("sends two records at once, and a part of a fourth");
    send_all(&conn, &[record('b'), record('c'), record('d')[..50].to_vec()].concat())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // WRONG: takes what one `recv` returns for a record. The cost: a part of it. (This one only
    // looks, so that the bytes are still there.)
    let (conn, _) = accept(&listener)?;
    let mut buf = [0; 128];
    let n = retry_eintr(|| sys::recv(&conn, &mut buf, libc::MSG_PEEK))?;
    out.check("one recv of 128 bytes", 7, n);
    send_all(&conn, b".")?;

    // However the bytes are cut on their way, the count alone makes the records.
    let mut records = Vec::new();
    let cut = loop {
        match recv_record::<128>(&conn) {
            Ok(Some(record)) => records.push(describe(&record)),
            // An end between two records would be a clean one. Here the fourth is cut.
            Ok(None) => break "None".to_owned(),
            Err(e) => break e.to_string(),
        }
    };
    let records = records.join("; ");
    let expected = "32 a, 96 A; 32 b, 96 B; 32 c, 96 C";
    out.check("recv_exact of 128 bytes, again and again", expected, &records);

    // Fifty bytes had come with one `recv`, and `recv_exact` was asked for the others.
    let expected_end = "the peer ended its stream after 0 of 78 bytes, the last of 128";
    out.check("the last one", expected_end, &cut);

    // Header and body of each record are its own: none took a byte of its neighbour.
    let observed = format!("from pieces, and from one piece: {records}");
    out.claim("X1", Verdict::holds_if(records == expected), observed);
    Ok(())
}

/// A header of small letters, a body of the same in capitals.
fn record(letter: char) -> Vec<u8> {
    let (header, body) = (letter as u8, letter.to_ascii_uppercase() as u8);
    [[header; HEADER].as_slice(), &[body; BODY]].concat()
}

/// What follows what in a record: "32 a, 96 A".
fn describe(record: &[u8]) -> String {
    let runs =
        record.chunk_by(|a, b| a == b).map(|run| format!("{} {}", run.len(), run[0] as char));
    runs.collect::<Vec<_>>().join(", ")
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
