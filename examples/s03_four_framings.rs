//! Without framing three messages come out as one; each of four framings brings back the three.
//!
//! Article 3, 1.6. man: recv(2), tcp(7).
//! Claim F1: The application has to mark where a message ends.
//!
//! TCP keeps the bytes and their order, and not where a message began. Of an empty message nothing
//! is left at all. So the bytes themselves have to tell: a length in front, a mark at the end, a
//! size that is always the same, or fields with lengths of their own inside one frame.
//!
//! Expect: one piece of 9 bytes; then 5, 0 and 4 bytes, four times. The last message looks like
//! the header of a frame and does no harm: a payload is counted, not looked at.
//!
//! Change and see: a newline in a message (two lines come out of it: a line cannot carry one); a
//! zero at the end of one (it is lost among the zeros that fill a record).

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::framing::tlv::parse_tlvs;
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, send_frame};

const MESSAGES: [&[u8]; 3] = [b"HELLO", b"", b"\0\0\0\x05"];

fn client(at: &At, _: &Out) -> io::Result<()> {
    // The same three messages over five connections: one without framing, one for each way to mark.
    let connect = || kernel::wait_until_in_queue(connect_to(&at.host, at.port)?);
    let (none, lengths, lines) = (connect()?, connect()?, connect()?);
    let (records, tlv) = (connect()?, connect()?);
    let mut fields = Vec::new();
    for message in MESSAGES {
        // WRONG: three messages with nothing between them. The cost: they are one from now on.
        send_all(&none, message)?;

        // A length in front; a newline at the end; always 8 bytes, filled up with zeros.
        send_frame(&lengths, message, DEFAULT_CAP)?;
        send_all(&lines, &[message, b"\n"].concat())?;
        let mut record = [0; 8];
        record[..message.len()].copy_from_slice(message);
        send_all(&records, &record)?;

        // A field: type 1, the length in two bytes, the value. All fields travel in one frame.
        fields.extend([&[1, 0, message.len() as u8], message].concat());
    }
    send_frame(&tlv, &fields, DEFAULT_CAP)
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let [mut none, mut frames, mut lines, mut records, mut fields] = [const { Vec::new() }; 5];

    // Everything has arrived before the first `recv`, as it may have at any time.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_peer_ended(&conn)?;
    let mut buf = [0; 100];
    while let n @ 1.. = recv_some(&conn, &mut buf, None)? {
        none.push(buf[..n].to_vec());
    }

    // The length says how many bytes are the message, be it none.
    let (conn, _) = accept(&listener)?;
    while let Some(frame) = recv_frame(&conn, DEFAULT_CAP)? {
        frames.push(frame);
    }

    // The newline says where the message ends, and is not part of it.
    let (conn, _) = accept(&listener)?;
    let mut reader = LineReader::new(&conn, 100);
    while let Some(line) = reader.recv_line()? {
        lines.push(line);
    }

    // The size says where the record ends. Where in it the message ends, the zeros say.
    let (conn, _) = accept(&listener)?;
    while let Some(record) = recv_record::<8>(&conn)? {
        let len = record.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        records.push(record[..len].to_vec());
    }

    // The frame brings all fields together, and each of them has a length of its own.
    let (conn, _) = accept(&listener)?;
    let frame = recv_frame(&conn, DEFAULT_CAP)?.ok_or(ErrorKind::UnexpectedEof)?;
    for field in parse_tlvs(&frame) {
        fields.push(field.map_err(io::Error::other)?.value.to_vec());
    }

    // Without framing the bytes are the same, and the messages are gone.
    let (sent, merged) = (list(&MESSAGES), list(&none));
    out.check("no framing: what each recv returned", list(&[MESSAGES.concat()]), &merged);
    let mut whole = 0;
    for (framing, got) in
        [("length prefix", frames), ("lines", lines), ("records", records), ("TLV", fields)]
    {
        // Each of the four brings back all three, the empty one among them.
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
