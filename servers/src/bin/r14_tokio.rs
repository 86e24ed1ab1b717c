//! r14_tokio  A thousand clients on one thread, written as if each had its own.
//!
//! Adds: `async`: the compiler turns the conversation inside out, as r05 and r06 did by hand,
//!   and tokio has the epoll loop. A task a client keeps what the conversation has at an
//!   `await`.
//! Promises: no client holds up another, and none costs a thread.
//! Limits: silent clients, until `tokio::time::timeout` is put around the frame. A SIGTERM in the
//!   middle of a frame cuts it off, until `tokio::signal` is asked.
//! At work: the usual choice for many clients, with tokio-util's codecs, tower and the rest.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::process::ExitCode;

use servers::start;
use tcp_stream_io::net::{AcceptAdvice, accept_advice};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

const CAP: u32 = 1 << 20;

fn main() -> ExitCode {
    start::run_at(include_str!("r14_tokio.rs"), |addr, port| {
        let addr: IpAddr = addr.parse().map_err(io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve(addr, port))
    })
}

async fn serve(addr: IpAddr, port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((addr, port)).await?;
    start::announce(listener.local_addr()?)?;
    loop {
        match listener.accept().await {
            Ok((conn, _)) => {
                tokio::spawn(async move { start::report(serve_client(conn).await) });
            }
            Err(e) => match accept_advice(&e) {
                AcceptAdvice::TryAgain => {}
                AcceptAdvice::Wait => {
                    start::say_seldom(&e);
                    time::sleep(start::ACCEPT_AGAIN).await;
                }
                AcceptAdvice::GiveUp => return Err(start::named("accept", e)),
            },
        }
    }
}

async fn serve_client(mut conn: TcpStream) -> io::Result<()> {
    let result = answer(&mut conn).await;
    // Our end, then the client's: closed over unread bytes, a reset would destroy the answers.
    let ended = async {
        conn.shutdown().await?;
        copy(&mut conn, &mut sink()).await
    };
    let ended = time::timeout(start::LINGER, ended).await.unwrap_or_else(|late| Err(late.into()));
    result.and(ended.map(drop)) // what went wrong first is what is told
}

async fn answer(conn: &mut TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let (input, mut output) = conn.split();
    let mut input = BufReader::new(input);
    let mut frame = Vec::new();
    while !input.fill_buf().await?.is_empty() {
        let len = input.read_u32().await?;
        if len > CAP {
            return Err(io::Error::new(ErrorKind::InvalidData, "a frame over the cap"));
        }
        frame.clear();
        frame.extend(len.to_be_bytes());
        // Grows as bytes arrive: `vec![0; len]` would believe the header.
        if (&mut input).take(len.into()).read_to_end(&mut frame).await? < len as usize {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        output.write_all(&frame).await?;
    }
    Ok(())
}
