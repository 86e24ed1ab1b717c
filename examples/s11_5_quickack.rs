//! TCP_QUICKACK lasts until the next answer: set once it does not help, after every recv it does.
//!
//! Article 11.2. man: tcp(7) (TCP_QUICKACK, TCP_INFO).
//!
//! What the receiver can do about a sender like that of s11_1_two_sends. The flag is not permanent:
//! as soon as the socket sends an answer, the kernel takes it for one side of a conversation, and
//! delays its acknowledgements again.
//!
//! Expect: set once after `accept`, the flag is gone after an answer, and a round trip takes more
//! than 40 ms; set again after every `recv`, each header is acknowledged when it is read.
//!
//! Change and see: `send_frame` in place of the client's two sends (nobody waits, with or without
//! the flag); 0 instead of 1.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{SOL_TCP, TCP_QUICKACK};
use stage::{At, Out, kernel, ms};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{
    UniqueFd, accept, connect_to, recv_exact, recv_frame, send_all, send_frame, sys,
};

const ROUNDS: usize = 6;
/// Of the 40 ms that are expected: the kernel's clock may tick only every 10 ms.
const DELAY: Duration = Duration::from_millis(20);
const HEADER: [u8; 4] = 60_u32.to_be_bytes();
const PAYLOAD: [u8; 60] = [b'x'; 60];

fn client(at: &At, out: &Out) -> io::Result<()> {
    let run = || -> io::Result<Duration> {
        let conn = connect_to(&at.host, at.port)?;
        let mut longest = Duration::ZERO;
        for _ in 0..ROUNDS {
            // Two sends: the payload waits for the acknowledgement of the header.
            let start = Instant::now();
            send_all(&conn, &HEADER)?;
            send_all(&conn, &PAYLOAD)?;
            recv_frame(&conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            longest = longest.max(start.elapsed());
        }
        Ok(longest)
    };
    // Where the server's flag has gone, its acknowledgement waits for 40 ms.
    let (once, always) = (run()?, run()?);
    out.check_that("set once: the longest round trip", "more than 20 ms", ms(once), once > DELAY);
    out.note(format_args!("set after each recv: the longest round trip {}", ms(always)));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // WRONG: set once. An answer that comes within 40 ms takes it away.
    let (conn, _) = accept(&listener)?;
    quick_ack(&conn)?;
    let set = sys::get_option(&conn, SOL_TCP, TCP_QUICKACK)?;
    // Each answer, and what has become of the flag after it.
    let (mut acks, mut gone) = (0, 0);
    for _ in 0..ROUNDS {
        answer(&conn, false, &mut acks)?;
        gone += usize::from(sys::get_option(&conn, SOL_TCP, TCP_QUICKACK)? == 0);
    }
    // Nobody has set it to 0 but the kernel.
    out.check("set once: the flag", 1, set);
    out.check_that("answers after which it is 0", "at least one", gone, gone > 0);

    // Set again as soon as something has been read, the flag is there when it is needed.
    let (conn, _) = accept(&listener)?;
    let (mut acks, mut at_once) = (0, 0);
    for _ in 0..ROUNDS {
        at_once += usize::from(answer(&conn, true, &mut acks)?);
    }
    out.check("set after each recv: headers acknowledged when read", ROUNDS, at_once);
    Ok(())
}

fn quick_ack(conn: &UniqueFd) -> io::Result<()> {
    sys::set_option(conn, SOL_TCP, TCP_QUICKACK, 1)
}

/// Takes one message and answers it. Returns whether the header had been acknowledged when it was
/// read. `acks` is how many acknowledgements had left before that message.
fn answer(conn: &UniqueFd, quick: bool, acks: &mut u32) -> io::Result<bool> {
    // The header came alone. The flag acknowledges what is here, now.
    recv_exact(conn, &mut [0; 4])?;
    if quick {
        quick_ack(conn)?;
    }
    let at_once = acks_sent(conn)? > *acks;
    // The next message comes after the answer, so its header is not among these.
    recv_exact(conn, &mut [0; 60])?;
    *acks = acks_sent(conn)?;
    send_frame(conn, b"", DEFAULT_CAP)?;
    Ok(at_once)
}

/// Segments that carried nothing but an acknowledgement.
fn acks_sent(conn: &UniqueFd) -> io::Result<u32> {
    kernel::tcp_info(conn).map(|info| info.tcpi_segs_out - info.tcpi_data_segs_out)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
