//! A TLV field that reaches past the end has to be an error: dropped, it looks like none.
//!
//! Article 3.4. man: htons(3).
//! Claim T1: A TLV decoder stops at a malformed field.
//!
//! Every field says how long it is. Where one reaches past the end, the article's decoder stops and
//! returns the fields before it: a message that lost its tail is the same to it as a short one.
//! A wrong length that fits cannot be noticed here, by any decoder. That takes a checksum.
//!
//! Expect: the article's decoder makes the same of the short and of the cut message; ours says of
//! the cut one where it breaks, what the field needs, and what there is.
//!
//! Change and see: the cut, to 11 bytes (a whole field less: no damage); 14 to 15.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::{At, Out, Verdict, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::framing::tlv::{Tlv, parse_tlvs};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_frame};

const DAMAGE: &str = ", the field at byte 6 needs 11 bytes, but only 6 are left";

/// A field as it travels: type, length in two bytes (the first is 0 for a short value), value.
fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, 0, value.len() as u8], value].concat()
}

fn client(at: &At, _: &Out) -> io::Result<()> {
    // Two messages as they should be: of two fields, and of one.
    let conn = connect_to(&at.host, at.port)?;
    let short = field(1, b"bob");
    let whole = [short.clone(), field(2, b"deny all")].concat();

    // Two that are damaged: one has lost its tail, in the other a length is 14 instead of 3.
    let mut wrong = whole.clone();
    wrong[2] = 14;
    for message in [&whole, &short, &whole[..whole.len() - 5], &wrong] {
        send_frame(&conn, message, DEFAULT_CAP)?;
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let mut seen = Vec::new();
    for (message, fields, error) in [
        ("the whole message", r#"1 "bob", 2 "deny all""#, ""),
        ("the short message", r#"1 "bob""#, ""),
        // The fields before the damage come out of both decoders. Only one of them tells of it.
        ("the cut message", r#"1 "bob""#, DAMAGE),
        ("a wrong length that fits", r#"1 "bob\x02\x00\x08deny all""#, ""),
    ] {
        // The frame arrives whole each time: the damage is inside it.
        let bytes = recv_frame(&conn, DEFAULT_CAP)?.ok_or(ErrorKind::UnexpectedEof)?;
        let article: Vec<_> = article_decoder(&bytes).iter().map(show).collect();
        let ours = parse_tlvs(&bytes).map(|f| f.map_or_else(|e| e.to_string(), |f| show(&f)));

        // Both decoders, in the same words.
        let (article, ours) = (article.join(", "), ours.collect::<Vec<_>>().join(", "));
        out.check(format!("{message}: the article's decoder"), fields, &article);
        out.check(format!("{message}: parse_tlvs"), format!("{fields}{error}"), &ours);
        seen.push((article, ours));
    }

    // To stop is not enough. Whoever gets the fields has to learn that more was meant.
    let [_, short, cut, wrong] = &seen[..] else { unreachable!() };
    let silent = cut.0 == short.0;
    let stops = cut.1 == [&short.1, DAMAGE].concat();
    let notices = wrong.1.contains("needs");
    let verdict = Verdict::holds_if(!silent && stops && notices)
        .or_when(stops, "the field reaches past the end of the message, and the decoder says so");

    // And a malformed field that fits is not even noticed.
    let [silent, notices] = [silent, notices].map(|so| if so { "" } else { "not " });
    let fits = format!("a wrong length that fits {notices}noticed");
    let observed =
        format!("cut, {silent}as short to the article's decoder; ours: {}; {fits}", cut.1);
    out.claim("T1", verdict, observed);
    Ok(())
}

/// The article's decoder.
fn article_decoder(message: &[u8]) -> Vec<Tlv<'_>> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while at + 3 <= message.len() {
        // WRONG: breaks off where the value does not fit. The cost: nobody will know.
        let len = usize::from(u16::from_be_bytes([message[at + 1], message[at + 2]]));
        if at + 3 + len > message.len() {
            break;
        }
        // The next field begins where this one ends.
        fields.push(Tlv { kind: message[at], value: &message[at + 3..at + 3 + len] });
        at += 3 + len;
    }
    fields
}

fn show(field: &Tlv) -> String {
    format!("{} {}", field.kind, text(field.value))
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
