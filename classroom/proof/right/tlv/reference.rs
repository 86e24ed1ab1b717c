//! The reference itself.

use std::process::ExitCode;

use grader::tlv::{Damage, Tlv};

fn tlv(message: &[u8]) -> Result<Vec<Tlv<'_>>, Damage> {
    tcp_stream_io::framing::tlv::parse_tlvs(message)
        .map(|field| match field {
            Ok(field) => Ok(Tlv { kind: field.kind, value: field.value }),
            Err(e) => Err(Damage { position: e.position, need: e.need, have: e.have }),
        })
        .collect()
}

fn main() -> ExitCode {
    grader::tlv::grade(tlv)
}
