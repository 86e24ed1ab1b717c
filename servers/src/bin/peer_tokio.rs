//! An echo server as one writes it at work: tokio, and tokio-util's length-prefixed frames.
//!
//! ```text
//! peer_tokio 127.0.0.1 0
//! ```
//!
//! A peer for the conformance suite and nothing more: no deadline, no end in order.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use servers::start;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

fn main() -> ExitCode {
    start::run_at(include_str!("peer_tokio.rs"), |addr, port| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve(format!("{addr}:{port}")))
    })
}

async fn serve(addr: String) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    start::announce(listener.local_addr()?)?;
    loop {
        match listener.accept().await {
            Ok((conn, _)) => {
                tokio::spawn(serve_client(conn)); // what goes wrong with it is its own affair
            }
            Err(_) => sleep(Duration::from_millis(100)).await, // perhaps no descriptor is left
        }
    }
}

async fn serve_client(conn: TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let codec = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
    let mut frames = Framed::new(conn, codec);
    while let Some(Ok(request)) = frames.next().await {
        frames.send(request.freeze()).await?;
    }
    // Closed over unread bytes, a reset would destroy the answers that have not arrived.
    let mut conn = frames.into_inner();
    conn.shutdown().await?;
    timeout(start::LINGER, copy(&mut conn, &mut sink())).await?.map(drop)
}
