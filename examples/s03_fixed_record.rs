//! Records of a fixed size need no mark: one `recv_exact` of 128 bytes is one record.
//!
//! Article 3.3. Claim: X1. man: recv(2).
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
    let conn = connect_to(&at.host, at.port)?;
    let first = record('a');
    let (start, rest) = first.split_at(7);
    out.note("sends 7 bytes of a record, then the rest in pieces of 30");
    send_all(&conn, start)?;
    recv_exact(&conn, &mut [0])?; // the server has had its one recv
    for piece in rest.chunks(30) {
        send_all(&conn, piece)?;
        kernel::wait_until_acked(&conn)?; // so that each travels alone
    }
    out.note("sends two records at once, and a part of a fourth");
    send_all(&conn, &[record('b'), record('c'), record('d')[..50].to_vec()].concat())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    // WRONG: takes what one recv returns for a record.
    let mut buf = [0; 128];
    let n = retry_eintr(|| sys::recv(&conn, &mut buf, libc::MSG_PEEK))?; // and leaves it there
    out.check("one recv of 128 bytes", 7, n);
    send_all(&conn, b".")?;

    let mut records = Vec::new();
    let cut = loop {
        match recv_record::<128>(&conn) {
            Ok(Some(record)) => records.push(describe(&record)),
            Ok(None) => break "None".to_owned(),
            Err(e) => break e.to_string(),
        }
    };
    let records = records.join("; ");
    let expected = "32 a, 96 A; 32 b, 96 B; 32 c, 96 C";
    out.check("recv_exact of 128 bytes, again and again", expected, &records);
    out.check("the last one", "got 50 of 128 bytes, then the peer ended its stream", &cut);

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
