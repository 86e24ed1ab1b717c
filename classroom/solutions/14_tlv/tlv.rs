//! Decode a message of fields: a type of one byte, a length of two, big-endian, and the value.

use std::process::ExitCode;

use grader::tlv::{Damage, Tlv};

/// The fields of `message`, or where it is damaged.
fn tlv(message: &[u8]) -> Result<Vec<Tlv<'_>>, Damage> {
    let mut fields = Vec::new();
    let mut position = 0;
    while position < message.len() {
        let rest = &message[position..];
        let damage = |need| Damage { position, need, have: rest.len() };
        let [kind, high, low, behind @ ..] = rest else { return Err(damage(3)) };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let value = behind.get(..len).ok_or(damage(3 + len))?;
        fields.push(Tlv { kind: *kind, value });
        position += 3 + len;
    }
    Ok(fields)
}

fn main() -> ExitCode {
    grader::tlv::grade(tlv)
}
