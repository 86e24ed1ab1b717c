//! TCP_QUICKACK lasts until the next answer: set once it does not help, after every recv it does.
//!
//! Article 11.2. man: tcp(7) (TCP_QUICKACK).
//!
//! What the receiver can do about a sender like that of s11_1_two_sends. The flag is not permanent:
//! as soon as the socket sends an answer, the kernel takes it for one side of a conversation, and
//! delays its acknowledgements again.
//!
//! Expect: set once after `accept`, a round trip takes as long as without; set again after every
//! `recv`, it is shorter by more than 20 ms.
//!
//! Change and see: `send_frame` in place of the client's two sends; 0 instead of 1.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use libc::{SOL_TCP, TCP_QUICKACK};
use stage::{At, Out, fastest, ms};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::stream::or_clean_end;
use tcp_stream_io::{
    UniqueFd, accept, connect_to, recv_exact, recv_frame, send_all, send_frame, sys,
};

const ROUNDS: usize = 7;
const DELAY: Duration = Duration::from_millis(20); // of the 40 that are expected
const HEADER: [u8; 4] = 60_u32.to_be_bytes();
const PAYLOAD: [u8; 60] = [b'x'; 60];

fn client(at: &At, out: &Out) -> io::Result<()> {
    let run = || {
        let conn = connect_to(&at.host, at.port)?;
        fastest(ROUNDS, || {
            send_all(&conn, &HEADER)?; // two sends: the payload waits for an acknowledgement
            send_all(&conn, &PAYLOAD)?;
            recv_frame(&conn, DEFAULT_CAP).map(drop)
        })
    };
    let (never, once, always) = (run()?, run()?, run()?);
    let saves = |time| never.saturating_sub(time) > DELAY;
    out.check_that("never set: a round trip", "more than 20 ms", ms(never), never > DELAY);
    out.check_that("set once: a round trip", "not 20 ms less", ms(once), !saves(once));
    out.check_that("set after each recv: a round trip", "20 ms less", ms(always), saves(always));
    Ok(())
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for (once, always) in [(false, false), (true, false), (false, true)] {
        let (conn, _) = accept(&listener)?;
        let quick_ack = || sys::set_option(&conn, SOL_TCP, TCP_QUICKACK, 1);
        if once {
            quick_ack()?; // WRONG: gone with the first answer
        }
        let (mut header, mut payload) = (HEADER, PAYLOAD);
        while or_clean_end(recv_exact(&conn, &mut header))? {
            if always {
                quick_ack()?; // acknowledges the header now
            }
            recv_exact(&conn, &mut payload)?;
            send_frame(&conn, &payload, DEFAULT_CAP)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
