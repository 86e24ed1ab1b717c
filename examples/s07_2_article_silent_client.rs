//! A client that connects and says nothing stops the article's server for everyone.
//!
//! Article 7, 2.2. man: recv(2), poll(2).
//!
//! The article's server takes one client after the other, and waits for each as long as it likes.
//! The handshake is the kernel's: the second client is connected and has sent its request, but
//! nobody accepts it.
//!
//! Expect: the second client gets no answer while the first is silent, and gets it as soon as the
//! first has gone; from a server with a deadline it gets it all the same.
//!
//! Change and see: 4 * LIMIT for the server's deadline (the second client waits as long); let the
//! silent one send 3 bytes of a header (nothing changes: the deadline is for the whole frame).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::{At, HANG, Out, text};
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame_with_deadline};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_frame};

/// What a client may take for its request: more than one that is not silent needs.
const LIMIT: Duration = Duration::from_millis(500);

fn client(at: &At, out: &Out) -> io::Result<()> {
    let answer_within = |conn: &UniqueFd, time| {
        came(&recv_frame_with_deadline(conn, DEFAULT_CAP, Instant::now() + time))
    };
    out.note("the article's server");
    let silent = connect_to(&at.host, at.port)?;
    let second = connect_to(&at.host, at.port)?;
    send_frame(&second, b"HELLO", DEFAULT_CAP)?;
    let while_silent = answer_within(&second, LIMIT);
    out.check("the second client's answer after 500 ms", "TimedOut", &while_silent);
    silent.close()?;
    let afterwards = answer_within(&second, HANG);
    out.check("its answer, once the silent one has gone", text(b"HELLO"), afterwards);

    out.note("a server with a deadline of 500 ms");
    let _silent = connect_to(&at.host, at.port)?;
    let second = connect_to(&at.host, at.port)?;
    send_frame(&second, b"HELLO", DEFAULT_CAP)?;
    let start = Instant::now();
    let answer = answer_within(&second, HANG);
    out.note(format_args!("it took {} ms", start.elapsed().as_millis()));
    out.check("the second client's answer", text(b"HELLO"), answer);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    for _silent_then_second in 0..2 {
        let (conn, _) = accept(&listener)?;
        // WRONG: waits for this client as long as it likes, and so does every other client.
        let Ok(Some(frame)) = recv_frame(&conn, DEFAULT_CAP) else { continue };
        send_frame(&conn, &frame, DEFAULT_CAP)?;
    }
    for expected in ["TimedOut".into(), text(b"HELLO")] {
        let (conn, _) = accept(&listener)?;
        let frame = recv_frame_with_deadline(&conn, DEFAULT_CAP, Instant::now() + LIMIT);
        out.check("a request", expected, came(&frame));
        if let Ok(Some(frame)) = frame {
            send_frame(&conn, &frame, DEFAULT_CAP)?;
        }
    }
    Ok(())
}

fn came(frame: &io::Result<Option<Vec<u8>>>) -> String {
    match frame {
        Ok(frame) => text(frame.as_deref().unwrap_or_default()),
        Err(e) => format!("{:?}", e.kind()),
    }
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
