//! Fixed records: every message is N bytes, and nothing is added. The article's section 3.3.

use std::io;

use crate::fd::UniqueFd;
use crate::stream::{last_of, recv_exact, recv_some};

/// Receives one record. `None`: the peer ended its stream between two. `UnexpectedEof`: inside one.
pub fn recv_record<const N: usize>(fd: &UniqueFd) -> io::Result<Option<[u8; N]>> {
    const { assert!(N > 0, "a record of no bytes never ends") };
    let mut record = [0; N];
    match recv_some(fd, &mut record, None)? {
        0 => Ok(None),
        got => {
            recv_exact(fd, &mut record[got..]).map_err(|e| last_of(N, e))?;
            Ok(Some(record))
        }
    }
}
