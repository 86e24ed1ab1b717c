//! Message boundaries, which TCP does not keep. The article's sections 1.6 and 3.
//!
//! Each module has a pure part that knows bytes only, and a thin part that moves them through a
//! descriptor.
//!
//! | module | a message ends | article |
//! | --- | --- | --- |
//! | [`length`] | after as many bytes as its header says | 3.1 |
//! | [`batch`] | the same, many frames a system call | 3.1, 11.2 |
//! | [`line`](mod@line) | at a newline | 3.2 |
//! | [`record`] | after N bytes, always | 3.3 |
//! | [`tlv`] | (fields inside a message: type, length, value) | 3.4 |

pub mod batch;
mod failed;
mod inbox;
pub mod length;
pub mod line;
pub mod record;
pub mod tlv;

use std::io::{Error, ErrorKind};

/// The peer broke the protocol.
fn invalid_data(text: String) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

/// Our own caller would break it.
fn invalid_input(text: String) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}
