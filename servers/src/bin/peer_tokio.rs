//! An echo server as one writes it at work: tokio, and tokio-util's length-prefixed frames.
//!
//! ```text
//! peer_tokio 127.0.0.1 0
//! ```
//!
//! A peer for the conformance suite and nothing more: no deadline, no end in order.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::{env, io};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (addr, port) = match args.as_slice() {
        [addr, port] if port.parse::<u16>().is_ok() => (addr, port),
        [help] if help == "-h" || help == "--help" => {
            let _ = writeln!(stdout(), "usage: peer_tokio <bind_addr> <port>");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("usage: peer_tokio <bind_addr> <port>");
            return ExitCode::from(2);
        }
    };
    match run(format!("{addr}:{port}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("peer_tokio: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(addr: String) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        let _ = writeln!(stdout(), "[listen-ok] {}", listener.local_addr()?);
        loop {
            let (conn, _) = listener.accept().await?;
            tokio::spawn(async move {
                let _ = serve(conn).await; // what goes wrong with one client is its own affair
            });
        }
    })
}

async fn serve(conn: TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let codec = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
    let mut frames = Framed::new(conn, codec);
    while let Some(request) = frames.next().await {
        frames.send(request?.freeze()).await?;
    }
    Ok(())
}
