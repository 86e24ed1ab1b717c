//! Decode a message of fields: a type of one byte, a length of two, big-endian, and the value.
//!
//! Return every field in its order. Where the message is damaged, say so: `position` is where the
//! field that is not whole begins, `need` how many bytes it needs from there on (3 where not even
//! type and length are whole), `have` how many there are. No message makes it panic.
//!
//! Article 3.4. man: byteorder(3). Given: `message`, whole as it came out of a frame. No socket.

use std::process::ExitCode;

use grader::tlv::{Damage, Tlv};

/// The fields of `message`, or where it is damaged.
fn tlv(message: &[u8]) -> Result<Vec<Tlv<'_>>, Damage> {
    //> // TODO: one field after the other, until nothing is left.
    //> grader::yours((message, Tlv { kind: 0, value: b"" }, Damage { position: 0, need: 3, have: 0 }))
    let mut fields = Vec::new();
    let mut position = 0;
    while position < message.len() {
        let rest = &message[position..];
        let damage = |need| Damage { position, need, have: rest.len() };
        let [kind, high, low, after @ ..] = rest else { return Err(damage(3)) };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let value = after.get(..len).ok_or(damage(3 + len))?;
        fields.push(Tlv { kind: *kind, value });
        position += 3 + len;
    }
    Ok(fields)
    //<
}

fn main() -> ExitCode {
    grader::tlv::grade(tlv)
}
