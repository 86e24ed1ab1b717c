//! A server bound to 127.0.0.1 cannot be reached at any other address of the machine.
//!
//! Article 7 (`listen_on`). man: bind(2), ip(7).
//!
//! "It works here, and from the next machine it is refused." The address given to `bind` says
//! which destination a connection must have. The whole of 127.0.0.0/8 is this machine, so 127.0.0.2
//! stands for its other address here.
//!
//! Expect: bound to 127.0.0.1, a client at 127.0.0.2 is refused; bound to 0.0.0.0, both are served,
//! and each connection has the address that its client asked for.
//!
//! Change and see: bind to 127.0.0.2 (the two swap); `None` for "0.0.0.0" (`::` serves both, and
//! the addresses begin with ::ffff:).

use std::io;
use std::process::ExitCode;

use stage::{Out, said};
use tcp_stream_io::{accept, connect_to, listen_on, sys};

fn run(out: &Out) -> io::Result<()> {
    // One address: whoever asks for another finds nobody, on the same machine and the same port.
    let listener = listen_on(Some("127.0.0.1"), 0, 16)?;
    let port = sys::getsockname(&listener)?.port();
    out.check("bound to 127.0.0.1, connect to it", "ok", said(&connect_to("127.0.0.1", port)));
    let other = connect_to("127.0.0.2", port);
    out.check("bound to 127.0.0.1, connect to 127.0.0.2", "ConnectionRefused", said(&other));

    // 0.0.0.0 is no address but any of them: every address of this machine will do.
    let listener = listen_on(Some("0.0.0.0"), 0, 16)?;
    let port = sys::getsockname(&listener)?.port();
    for host in ["127.0.0.1", "127.0.0.2"] {
        let client = connect_to(host, port);
        out.check(format_args!("bound to 0.0.0.0, connect to {host}"), "ok", said(&client));
        // The listener has no address of its own, but each connection has one.
        let (conn, _) = accept(&listener)?;
        let local = sys::getsockname(&conn)?;
        out.check("the accepted socket's own address", format!("{host}:{port}"), local);
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
