//! Without framing three messages come out as one; each of four framings brings back the three.
//!
//! Article 3, 1.6. Claim: F1. man: recv(2), tcp(7).
//!
//! TCP keeps the bytes and their order, and not where a message began. Of an empty message nothing
//! is left at all. So the bytes themselves have to tell: a length in front, a mark behind, a size
//! that is always the same, or fields with lengths of their own inside one frame.
//!
//! Expect: one piece of 9 bytes; then 5, 0 and 4 bytes, four times. The last message looks like
//! the header of a frame and does no harm: a payload is counted, not looked at.
//!
//! Change and see: a newline in a message (a line cannot carry it: InvalidInput); a zero at the
//! end of one (it is lost among the zeros that fill a record).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::framing::line::{LineReader, send_line};
use tcp_stream_io::framing::record::{recv_record, send_record};
use tcp_stream_io::framing::tlv::{parse_tlvs, push_tlv};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, send_frame};

const MESSAGES: [&[u8]; 3] = [b"HELLO", b"", b"\0\0\0\x05"];

fn client(at: &At, _: &Out) -> io::Result<()> {
    let connect = || connect_to(&at.host, at.port);
    let (none, lengths, lines) = (connect()?, connect()?, connect()?);
    let (records, tlv) = (connect()?, connect()?);
    let mut fields = Vec::new();
    for message in MESSAGES {
        send_all(&none, message)?; // WRONG: three messages with nothing between them
        send_frame(&lengths, message, DEFAULT_CAP)?;
        send_line(&lines, message)?;
        let mut record = [0; 8]; // filled up with zeros
        record[..message.len()].copy_from_slice(message);
        send_record(&records, &record)?;
        push_tlv(&mut fields, 1, message)?;
    }
    send_frame(&tlv, &fields, DEFAULT_CAP)
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let [mut none, mut frames, mut lines, mut records, mut fields] = [const { Vec::new() }; 5];

    let (conn, _) = accept(&listener)?;
    kernel::wait_until_peer_ended(&conn)?; // everything is here
    let mut buf = [0; 100];
    while let n @ 1.. = recv_some(&conn, &mut buf, None)? {
        none.push(buf[..n].to_vec());
    }
    let (conn, _) = accept(&listener)?;
    while let Some(frame) = recv_frame(&conn, DEFAULT_CAP)? {
        frames.push(frame);
    }
    let (conn, _) = accept(&listener)?;
    let mut reader = LineReader::new(conn, 100);
    while let Some(line) = reader.next_line()? {
        lines.push(line.to_vec());
    }
    let (conn, _) = accept(&listener)?;
    while let Some(record) = recv_record::<8>(&conn)? {
        let len = record.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        records.push(record[..len].to_vec());
    }
    let (conn, _) = accept(&listener)?;
    let frame = recv_frame(&conn, DEFAULT_CAP)?.unwrap_or_default();
    for field in parse_tlvs(&frame) {
        fields.push(field?.value.to_vec());
    }

    let (sent, merged) = (list(&MESSAGES), list(&none));
    out.check("no framing: what each recv returned", list(&[MESSAGES.concat()]), &merged);
    let mut whole = 0;
    for (framing, got) in
        [("length prefix", frames), ("lines", lines), ("records", records), ("TLV", fields)]
    {
        out.check(framing, &sent, list(&got));
        whole += usize::from(list(&got) == sent);
    }
    let verdict = Verdict::holds_if(merged != sent && whole == 4);
    out.claim("F1", verdict, format!("without {merged}; as sent with {whole} of 4 framings"));
    Ok(())
}

fn list(messages: &[impl AsRef<[u8]>]) -> String {
    messages.iter().map(|m| text(m.as_ref())).collect::<Vec<_>>().join(", ")
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
