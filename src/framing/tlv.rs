//! TLV: fields of type (1 byte), length (2 bytes, big-endian) and value, one behind the other
//! inside a message. The article's section 3.4.
//!
//! No descriptor appears here: the message that holds the fields travels in a frame.

use std::{error, fmt, io};

use super::invalid_input;

const HEADER: usize = 3;

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
    /// How many bytes the field needs, its header included.
    pub need: usize,
    /// How many there are.
    pub have: usize,
}

impl fmt::Display for TlvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlvError { position, need, have } = self;
        write!(f, "the field at byte {position} needs {need} bytes, but only {have} are left")
    }
}

impl error::Error for TlvError {}

impl From<TlvError> for io::Error {
    fn from(e: TlvError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, e)
    }
}

/// Appends one field. `InvalidInput` if the value is longer than two bytes can say.
pub fn push_tlv(message: &mut Vec<u8>, kind: u8, value: &[u8]) -> io::Result<()> {
    let len = u16::try_from(value.len())
        .map_err(|_| invalid_input(format!("a value of {} bytes is over 65535", value.len())))?;
    message.push(kind);
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(value);
    Ok(())
}

/// The fields of a message, in order. After an error there are no more.
///
/// ```
/// use tcp_stream_io::framing::tlv::{Tlv, TlvError, parse_tlvs};
///
/// let mut fields = parse_tlvs(b"\x01\x00\x02hi\x02\x00\x05ab");
/// assert_eq!(fields.next(), Some(Ok(Tlv { kind: 1, value: b"hi" })));
/// assert_eq!(fields.next(), Some(Err(TlvError { position: 5, need: 8, have: 5 })));
/// assert_eq!(fields.next(), None);
/// ```
pub fn parse_tlvs(message: &[u8]) -> Tlvs<'_> {
    Tlvs { message, position: 0 }
}

/// What [`parse_tlvs`] returns.
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    message: &'a [u8],
    position: usize,
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, TlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.position;
        let left = &self.message[position..];
        if left.is_empty() {
            return None;
        }
        self.position = self.message.len(); // where it stays, unless a whole field is found
        let broken = |need| Some(Err(TlvError { position, need, have: left.len() }));
        let Some((&[kind, hi, lo], rest)) = left.split_first_chunk() else {
            return broken(HEADER);
        };
        let len = usize::from(u16::from_be_bytes([hi, lo]));
        let Some(value) = rest.get(..len) else {
            return broken(HEADER + len);
        };
        self.position = position + HEADER + len;
        Some(Ok(Tlv { kind, value }))
    }
}
