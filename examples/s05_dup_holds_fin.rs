//! `close` sends the FIN when the last descriptor goes; `shutdown` sends it at once, for all.
//!
//! Article 5.2. man: close(2), dup(2), fork(2), shutdown(2).
//! Claim C4: A close ends the connection when the last descriptor of it goes.
//!
//! A descriptor is a reference to the socket. `dup` makes a second one, and so does `fork`: a
//! child that inherits a connection and lives on keeps the peer waiting.
//!
//! Expect: ESTABLISHED at the server after the first `close`, CLOSE_WAIT after the last; the same
//! with a child process; CLOSE_WAIT at once after `shutdown`, with two descriptors open.
//!
//! Change and see: `shutdown` before the first `conn.close()` (the 5 bytes are EPIPE); let the
//! child end at once.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use libc::{PR_SET_PDEATHSIG, SHUT_WR, SIGKILL, prctl};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use stage::{At, Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The first `close` takes a descriptor away and sends nothing: the copy still works.
    let (conn, copy) = connected_twice(at)?;
    out.note("closes one of two descriptors");
    conn.close()?;
    send_all(&copy, b"HELLO")?;
    // The server has looked. The second `close` is the last one, and sends the FIN.
    recv_exact(&copy, &mut [0])?;
    copy.close()?;

    // A child process inherits the descriptor, and keeps it until the server has looked.
    let conn = connect_to(&at.host, at.port)?;
    // SAFETY: until `_exit` the child makes system calls only, all it may do beside threads.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        // SAFETY: as above; prctl takes an int. The child ends with this thread, if not before.
        ForkResult::Child => unsafe {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            let _ = retry_eintr(|| sys::recv(&conn, &mut [0], 0));
            libc::_exit(0)
        },
    };
    // The parent's `close` sends nothing either. A new connection tells the server to look.
    out.note("closes its descriptor, the child has another");
    conn.close()?;
    let _closed = connect_to(&at.host, at.port)?;
    retry_eintr(|| Ok(waitpid(child, None)?))?;

    // `shutdown` asks for no count: the FIN leaves at once, and both descriptors stay open.
    let (conn, copy) = connected_twice(at)?;
    sys::shutdown(&conn, SHUT_WR)?;
    recv_exact(&copy, &mut [0])
}

/// A connection with two descriptors: dup(2).
fn connected_twice(at: &At) -> io::Result<(UniqueFd, UniqueFd)> {
    let conn = connect_to(&at.host, at.port)?;
    let copy = conn.as_fd().try_clone_to_owned()?.into();
    Ok((conn, copy))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // These bytes were sent after the first `close`: a FIN of it would have come before them.
    let (conn, _) = accept(&listener)?;
    recv_exact(&conn, &mut [0; 5])?;
    let first = kernel::tcp_state(&conn)?;
    out.check("after the first close", "ESTABLISHED", first);
    // Then the client closes the other descriptor.
    send_all(&conn, b".")?;
    kernel::wait_until_peer_ended(&conn)?;
    let last = kernel::tcp_state(&conn)?;
    out.check("after the last close", "CLOSE_WAIT", last);

    // The second connection was made after the parent's `close`: its FIN would be here by now.
    let (conn, _) = accept(&listener)?;
    accept(&listener)?;
    let inherited = kernel::tcp_state(&conn)?;
    out.check("after close, while a child has it open", "ESTABLISHED", inherited);
    // A byte ends the child, and its descriptor was the last.
    send_all(&conn, b".")?;
    kernel::wait_until_peer_ended(&conn)?;
    out.check("when the child has ended", "CLOSE_WAIT", kernel::tcp_state(&conn)?);

    // Here the client has called `shutdown`, and closed nothing.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_peer_ended(&conn)?;
    out.check("after shutdown, both open", "CLOSE_WAIT", kernel::tcp_state(&conn)?);
    send_all(&conn, b".")?;

    // The claim is about `close`: no descriptor but the last one ended the connection.
    let with_last = [first, inherited, last] == ["ESTABLISHED", "ESTABLISHED", "CLOSE_WAIT"];
    let observed = format!("{first} after the first close, {last} after the last");
    out.claim("C4", Verdict::holds_if(with_last), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
