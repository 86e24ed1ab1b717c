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
//! Change and see: 10 * LIMIT for the server's deadline (the second client waits as long); let the
//! silent one send 3 bytes of a header (nothing changes: the deadline is for the whole frame).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::{At, Out, kernel, said, text};
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame_with_deadline};
use tcp_stream_io::stream::wait_ready;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_frame};

/// What a client may take for its request.
const LIMIT: Duration = Duration::from_millis(300);

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The first client is connected and says nothing. The second has said all that it has to say.
    out.note("the article's server");
    let silent = connect_to(&at.host, at.port)?;
    let second = connect_to(&at.host, at.port)?;
    send_frame(&second, b"HELLO", DEFAULT_CAP)?;
    // No answer comes, however long it waits.
    let answer = wait_ready(&second, libc::POLLIN, Some(Instant::now() + LIMIT));
    out.check("the second client's answer, after 300 ms", "TimedOut", said(&answer));
    // It was the silent one alone that the server was waiting for.
    silent.close()?;
    let answer = recv_frame(&second, DEFAULT_CAP);
    out.check("its answer, once the silent one has gone", text(b"HELLO"), came(answer));

    // The same two clients again. A third connection says that both are as they should be.
    out.note("a server with a deadline of 300 ms");
    let _silent = connect_to(&at.host, at.port)?;
    let second = connect_to(&at.host, at.port)?;
    send_frame(&second, b"HELLO", DEFAULT_CAP)?;
    let _ready = connect_to(&at.host, at.port)?;
    // This time the answer comes while the first client is still there, and silent.
    let (start, answer) = (Instant::now(), recv_frame(&second, DEFAULT_CAP));
    out.note(format_args!("the answer took {} ms", start.elapsed().as_millis()));
    out.check("the second client's answer", text(b"HELLO"), came(answer));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    for _silent_then_second in 0..2 {
        let (conn, _) = accept(&listener)?;
        // WRONG: waits for this client as long as it likes, and so does every other client.
        let Ok(Some(frame)) = recv_frame(&conn, DEFAULT_CAP) else { continue };
        send_frame(&conn, &frame, DEFAULT_CAP)?;
    }

    // With a deadline each client has its time from when it is accepted. Then it is the next
    // one's turn.
    kernel::wait_until_queued(&listener, 3)?;
    for expected in ["TimedOut".into(), text(b"HELLO")] {
        let (conn, _) = accept(&listener)?;
        let frame = recv_frame_with_deadline(&conn, DEFAULT_CAP, Instant::now() + LIMIT);
        // Who has sent a whole frame by then gets it back; who has not is left.
        if let Ok(Some(frame)) = &frame {
            send_frame(&conn, frame, DEFAULT_CAP)?;
        }
        out.check("a request", expected, came(frame));
    }
    // The third has nothing to ask, and would be reset if nobody took it.
    accept(&listener).map(drop)
}

/// The frame as text, or why there is none.
fn came(frame: io::Result<Option<Vec<u8>>>) -> String {
    said(&frame.map(|frame| frame.map_or("no frame".into(), |frame| text(&frame))))
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
