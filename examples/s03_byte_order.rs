//! In network byte order a header means the same to every machine and every language.
//!
//! Article 3.1. man: htonl(3).
//! Claim L2: In network byte order a header means the same on every machine.
//!
//! A length of 258 is four bytes, and there are two ways to line them up. The network's has the
//! most significant byte first. In the memory of most machines it comes last, and `send` takes
//! bytes as they lie in memory.
//!
//! Expect: 258 leaves as 00 00 01 02, and a reader in Python, who is given the connection itself,
//! makes 258 of it. In the order of a little-endian machine it announces 33,619,968 bytes.
//!
//! Change and see: LENGTH to 0x010100 (the same in both orders); `!` to `<` in the Python line.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode};

use stage::{At, Out, Verdict, kernel, retry_eintr, text};
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header, encode_header};
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

const LENGTH: u32 = 258;

/// Its input is the connection. `!` is the network's order, `I` an unsigned number of four bytes.
const PYTHON: &str = "import struct, sys; print(*struct.unpack('!II', sys.stdin.buffer.read(8)))";

fn client(at: &At, _: &Out) -> io::Result<()> {
    // The same number twice. The first time its bytes are put in order before they leave.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, &encode_header(LENGTH as usize, DEFAULT_CAP)?)?;

    // WRONG: as it lies in memory. The cost: it means something else to a machine of another kind.
    send_all(&conn, &LENGTH.to_ne_bytes())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // A peek leaves the bytes where they are, for the next reader of this connection.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, 8)?;
    let mut headers = [[0; 4]; 2];
    let n = retry_eintr(|| sys::recv(&conn, headers.as_flattened_mut(), libc::MSG_PEEK))?;
    let [right, wrong] = headers;
    out.check("two headers: bytes", 8, n);

    // What is on the wire, and what the reference makes of it.
    let bytes = right.map(|byte| format!("{byte:02x}")).join(" ");
    out.check(format!("{LENGTH} in network byte order"), "00 00 01 02", &bytes);
    let here = decode_header(right, DEFAULT_CAP)?;
    out.check("decoded here", LENGTH, here);

    // What the other header announces to whoever reads it as the network's order has it.
    let announced = u32::from_be_bytes(wrong);
    let swapped = if cfg!(target_endian = "little") { LENGTH.swap_bytes() } else { LENGTH };
    out.check(format!("{LENGTH} in this machine's order announces"), swapped, announced);

    // Whoever reads the connection next, in whatever language, finds the same eight bytes.
    let mut python = Command::new("python3");
    let there = match python.args(["-IS", "-c", PYTHON]).stdin(OwnedFd::from(conn)).output() {
        Ok(output) => text(output.stdout.trim_ascii()),
        Err(e) => format!("nobody to ask ({e})"),
    };

    // Where there is no Python the claim stays open, and the run says so.
    let asked = there.starts_with('"');
    let expected = text(format!("{LENGTH} {announced}").as_bytes());
    if asked {
        out.check("both headers, decoded in Python", &expected, &there);
    } else {
        out.note(format_args!("python3: {there}"));
    }

    // Two programs that share no line of code have to make the same number of the same bytes.
    let agree = here == LENGTH as usize && there == expected;
    let verdict = if asked { Verdict::holds_if(agree) } else { Verdict::NotObserved };
    let observed = format!("{bytes} is {here} in Rust; both in Python: {there}");
    out.claim("L2", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
