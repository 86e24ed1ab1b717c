//! What the tokio peers share.

use std::future::Future;
use std::io;

use tcp_stream_io::{UniqueFd, sys};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio_util::codec::LengthDelimitedCodec;

/// Runs one future to its end, on a runtime of this thread alone: the fastest there is for one
/// connection.
pub fn block_on<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    runtime::Builder::new_current_thread().enable_io().build()?.block_on(future)
}

/// The connection as tokio has it. To be called inside `block_on`.
pub fn stream(fd: UniqueFd) -> io::Result<TcpStream> {
    sys::set_nonblocking(&fd, true)?;
    let stream = TcpStream::from_std(std::os::fd::OwnedFd::from(fd).into())?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The article's frames: four bytes of length, big-endian, and 1 MiB at the most.
pub fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec()
}
