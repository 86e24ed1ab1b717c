//! refused: "need is 3 where type and length are not whole"

use std::process::ExitCode;

use grader::tlv::{Damage, Tlv};

fn tlv(message: &[u8]) -> Result<Vec<Tlv<'_>>, Damage> {
    let mut fields = Vec::new();
    let mut position = 0;
    while position < message.len() {
        let rest = &message[position..];
        let damage = |need| Damage { position, need, have: rest.len() };
        let [kind, high, low, behind @ ..] = rest else { return Err(damage(1)) };
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
