//! Fixed records: every message is N bytes. The article's section 3.3.

use std::io;
use std::os::fd::AsFd;

use crate::stream;

/// Sends one record. A record is its own frame: nothing is added.
pub fn send_record<const N: usize>(fd: impl AsFd, record: &[u8; N]) -> io::Result<()> {
    stream::send_all(fd, record)
}

/// Receives one record of N bytes. `None`: the peer ended its stream between records.
/// `UnexpectedEof`: it ended inside one.
///
/// ```
/// # use tcp_stream_io::{fd::UniqueFd, framing::record};
/// # fn read(conn: UniqueFd) -> std::io::Result<()> {
/// // The article's record: a header of 32 bytes and a body of 96.
/// while let Some(rec) = record::recv_record::<128>(&conn)? {
///     let (header, body) = rec.split_at(32);
///     # let _ = (header, body);
/// }
/// # Ok(())
/// # }
/// ```
pub fn recv_record<const N: usize>(fd: impl AsFd) -> io::Result<Option<[u8; N]>> {
    let mut record = [0; N];
    let whole = stream::or_clean_end(stream::recv_exact(fd, &mut record))?;
    Ok(whole.then_some(record))
}
