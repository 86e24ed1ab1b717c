//! JSON lines: the first is `{"about": …, "births": …}`, each other one an event. Bytes are hexadecimal.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::record::{About, Birth, Event, Trace};

/// The first line.
#[derive(Serialize, Deserialize)]
struct First<A, B> {
    about: A,
    births: Option<B>,
}

/// Writes the whole trace.
pub fn write(trace: &Trace, mut out: impl Write) -> Result<()> {
    line(&First { about: &trace.about, births: Some(&trace.births) }, &mut out)?;
    trace.events.iter().try_for_each(|event| line(event, &mut out))?;
    Ok(out.flush()?)
}

fn line(value: &impl Serialize, out: &mut impl Write) -> Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(out.write_all(b"\n")?)
}

/// Reads a trace back. An error names the line.
pub fn read(input: impl BufRead) -> Result<Trace> {
    let mut trace = Trace::default();
    for (index, text) in input.lines().enumerate() {
        let text = text?;
        let place = || format!("line {} is no line of a trace", index + 1);
        if index == 0 {
            let first: First<About, Vec<Birth>> =
                serde_json::from_str(&text).with_context(place)?;
            trace.about = first.about;
            trace.births = first.births.unwrap_or_default();
        } else if !text.is_empty() {
            let event: Event = serde_json::from_str(&text).with_context(place)?;
            trace.events.push(event);
        }
    }
    Ok(trace)
}

/// Bytes as hexadecimal text, for `#[serde(with)]`.
pub mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Two digits a byte. A trace may have a hundred megabytes of them.
    pub fn text(bytes: &[u8]) -> String {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            text.push(DIGITS[usize::from(byte >> 4)]);
            text.push(DIGITS[usize::from(byte & 15)]);
        }
        text
    }

    /// For a field of bytes.
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(bytes))
    }

    /// What [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
            _ => Err(D::Error::custom("bytes are two hexadecimal digits each")),
        }
    }
}
