//! To wake a thread that is blocked in `recv`, call `shutdown`: `close` does not wake it.
//!
//! Article 5.2. man: close(2) ("Multithreaded processes"), shutdown(2).
//!
//! The blocked call holds the socket itself. `close` takes only the number away, which the next
//! `open` of any thread may be given, while the call still waits and takes bytes.
//!
//! Expect: a `recv` whose descriptor has been closed under it returns the 5 bytes that come later;
//! a `recv` whose socket has been shut down returns 0 at once.
//!
//! Change and see: leave out `send_all` after `close` (the stage says where each waits, with the
//! number of a descriptor that is closed); `recv` from `number` in the second part (EBADF).

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::process::ExitCode;
use std::thread;

use libc::{SHUT_RDWR, SYS_recvfrom};
use stage::{At, Out, kernel, retry_eintr, said};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Safe Rust refuses to close what another thread has borrowed. So take a number, as C has it,
    // of a second descriptor: `conn` stays open.
    let conn = connect_to(&at.host, at.port)?;
    let number = conn.as_fd().try_clone_to_owned()?.into_raw_fd();
    let closed = thread::scope(|scope| {
        // Another thread acts as soon as this one is asleep in `recv`.
        kernel::when_blocked_in(scope, SYS_recvfrom, |_| {
            // WRONG: closes a descriptor that another thread is using. The `recv` waits on, and
            // takes the bytes that the dot asks for.
            // SAFETY: the number is the client's own, and nobody closes it again.
            unsafe { libc::close(number) };
            send_all(&conn, b".")
        });
        retry_eintr(|| recv(number))
    });
    out.check("close: the blocked recv takes what comes later", "5", said(&closed));

    // `shutdown` acts on the socket, and so on whoever waits for it.
    let shut_down = thread::scope(|scope| {
        kernel::when_blocked_in(scope, SYS_recvfrom, |_| sys::shutdown(&conn, SHUT_RDWR));
        retry_eintr(|| sys::recv(&conn, &mut [0; 5], 0))
    });
    out.check("SHUT_RDWR: the blocked recv", "0", said(&shut_down));
    Ok(())
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    // The dot comes when the client has closed one descriptor, and not before.
    let (conn, _) = accept(&listener)?;
    recv_exact(&conn, &mut [0])?;
    send_all(&conn, b"HELLO")?;
    kernel::wait_until_peer_ended(&conn)
}

/// `recv` on a number, whoever closes it meanwhile.
fn recv(number: c_int) -> io::Result<usize> {
    let mut buf = [0; 5];
    // SAFETY: `buf` is writable for its length. That `number` is closed meanwhile is the subject.
    let n = unsafe { libc::recv(number, buf.as_mut_ptr().cast(), buf.len(), 0) };
    usize::try_from(n).map_err(|_| sys::last_errno())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
