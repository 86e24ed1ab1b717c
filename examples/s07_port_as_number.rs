//! A port given as text can come out as another: `getaddrinfo` takes "99999" for 34463.
//!
//! Article 7 (`resolve`). man: getaddrinfo(3), services(5).
//!
//! The article hands the port to `getaddrinfo` as it came from the command line. The C library
//! reads it as a number and keeps the lower 16 bits. A `u16` cannot hold such a number: reading it
//! fails where it was typed, before any socket.
//!
//! Expect: "99999" comes out as 34463, "65536" as 0; a client that is told a port 65536 too high
//! connects all the same; `u16` refuses both texts.
//!
//! Change and see: "http" (an error); the same without AI_NUMERICSERV (80, by /etc/services).

use std::ffi::CString;
use std::io;
use std::process::ExitCode;
use std::{mem, ptr};

use stage::{Out, said};
use tcp_stream_io::{connect_to, listen_on, sys};

/// WRONG: the article's way. The port that `getaddrinfo` makes of a text.
fn port_of(service: &str) -> io::Result<u16> {
    // What the article passes: a text for the port, and a wish for a stream over IPv4.
    let service = CString::new(service)?;
    // SAFETY: addrinfo is integers and pointers, for which zero is a valid value.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_family = libc::AF_INET;
    hints.ai_socktype = libc::SOCK_STREAM;
    hints.ai_flags = libc::AI_NUMERICSERV;

    // A number that no port can be is no error to it.
    let mut head = ptr::null_mut();
    // SAFETY: the text ends in NUL; all pointers but the host, which may be null, are valid.
    let code = unsafe { libc::getaddrinfo(ptr::null(), service.as_ptr(), &hints, &mut head) };
    if code != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The port stands in the address, in network byte order.
    // SAFETY: the call succeeded: `head` is a list of at least one sockaddr_in, freed once.
    unsafe {
        let port = u16::from_be((*(*head).ai_addr.cast::<libc::sockaddr_in>()).sin_port);
        libc::freeaddrinfo(head);
        Ok(port)
    }
}

fn run(out: &Out) -> io::Result<()> {
    // A port that is one comes out as it is. The others lose all but their lower 16 bits.
    for (text, expected) in [("9000", 9000), ("99999", 34463), ("65536", 0)] {
        out.check(format_args!("getaddrinfo: {text:?}"), expected, port_of(text)?);
    }

    // So a slip in the port is not noticed: the client connects, and to somebody else's server.
    let listener = listen_on(Some("127.0.0.1"), 0, 1)?;
    let port = sys::getsockname(&listener)?.port();
    let too_high = (u32::from(port) + 65536).to_string();
    let reached = connect_to("127.0.0.1", port_of(&too_high)?);
    out.check("connect to the server's port + 65536", "ok", said(&reached));

    // A `u16` holds ports and nothing else, so the text is refused where it is read.
    for text in ["99999", "65536"] {
        let refused = text.parse::<u16>().map_or_else(|e| e.to_string(), |port| port.to_string());
        out.check(format_args!("u16: {text:?}"), "number too large to fit in target type", refused);
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
