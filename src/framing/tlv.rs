//! TLV: fields of type (1 byte), length (2 bytes, big-endian) and value, in a row inside a message.
//! The article's section 3.4. The message that holds the fields travels in a frame.

use std::{error, fmt, iter};

/// One field. The value is lent from the message: nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The field's type. (`type` is a word of the language.)
    pub kind: u8,
    /// Its bytes, up to 65,535.
    pub value: &'a [u8],
}

/// The message ends inside a field. The article's decoder drops such a field in silence, so that
/// a damaged message looks like a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvError {
    /// Where the field begins, in bytes from the start of the message.
    pub position: usize,
    /// How many bytes the field needs, its type and length included.
    pub need: usize,
    /// How many are left.
    pub have: usize,
}

impl fmt::Display for TlvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlvError { position, need, have } = self;
        write!(f, "the field at byte {position} needs {need} bytes, but only {have} are left")
    }
}

impl error::Error for TlvError {}

/// The fields of a message, in order. After an error there are no more.
pub fn parse_tlvs(message: &[u8]) -> impl Iterator<Item = Result<Tlv<'_>, TlvError>> {
    let mut next = 0;
    iter::from_fn(move || {
        let position = next;
        let left = &message[position..];
        if left.is_empty() {
            return None;
        }
        next = message.len();
        let broken = |need| Some(Err(TlvError { position, need, have: left.len() }));

        let Some((&[kind, hi, lo], rest)) = left.split_first_chunk() else {
            return broken(3);
        };
        let len = usize::from(u16::from_be_bytes([hi, lo]));
        let Some(value) = rest.get(..len) else {
            return broken(3 + len);
        };
        next = position + 3 + len;
        Some(Ok(Tlv { kind, value }))
    })
}
