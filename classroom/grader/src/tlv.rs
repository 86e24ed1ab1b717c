//! Exercise `tlv`: type, length, value, and damage that is named. Article 3.4.

use std::process::ExitCode;

use say::say;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, observe};
use crate::peer::pattern;
use crate::refusal::Refusal;

/// A field, lent from the message it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The type.
    pub kind: u8,
    /// The value.
    pub value: &'a [u8],
}

/// Where a message is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Where the field begins that is not whole.
    pub position: usize,
    /// The bytes it needs from there on.
    pub need: usize,
    /// The bytes there are.
    pub have: usize,
}

/// Decode the bytes.
#[derive(Serialize, Deserialize)]
struct Ask;

#[derive(Serialize, Deserialize)]
struct Said {
    /// Types and values.
    result: Result<Vec<Field>, Damage>,
    after: After,
}

type Field = (u8, Vec<u8>);

/// Grades the answer.
pub fn grade(answer: fn(&[u8]) -> Result<Vec<Tlv<'_>>, Damage>) -> ExitCode {
    grading::grade_raw("tlv", CASES, |_: Ask, given| {
        let (result, after) = observe(&given.fds, || answer(&given.bytes));
        let own = |field: &Tlv<'_>| (field.kind, field.value.to_vec());
        let result = result.map(|fields| fields.iter().map(own).collect());
        (Said { result, after }, Vec::new())
    })
}

const CASES: &[Case] = &[
    Case { name: "no field, one, three, ten thousand", run: whole },
    Case { name: "values of 0 bytes, first, last and alone", run: empty_values },
    Case { name: "values of 255 to 65535 bytes", run: lengths },
    Case { name: "the message is cut at every place", run: cuts },
    Case { name: "a length that claims more than there is", run: claims },
    Case { name: "a thousand messages of any fields, each cut somewhere", run: many },
];

fn encode(fields: &[Field]) -> Vec<u8> {
    let one = |(kind, value): &Field| {
        let len = u16::try_from(value.len()).expect("at most 65535 bytes").to_be_bytes();
        [&[*kind][..], &len, value].concat()
    };
    fields.iter().flat_map(one).collect()
}

fn field(kind: u8, value: &[u8]) -> Field {
    (kind, value.to_vec())
}

fn describe(result: &Result<Vec<Field>, Damage>) -> String {
    match result {
        Ok(fields) => say!("{} fields", fields.len()),
        Err(Damage { position, need, have }) => {
            say!("damage at position {position}: need {need}, have {have}")
        }
    }
}

/// Has `message` decoded and compares.
fn check(
    child: &mut Child,
    message: &[u8],
    expected: &Result<Vec<Field>, Damage>,
    what: &str,
) -> Result<(), Refusal> {
    child.scene(&say!("in a message of {} bytes", message.len()), what, "");
    let (said, _) = child.call_as::<Said>(Ask, message, vec![])?;
    child.left_as_it_was(&said.after)?;
    if said.result == *expected {
        return Ok(());
    }
    let refusal = Refusal::new(mistake(expected, &said.result, message))
        .peer(what)
        .but(describe(expected), describe(&said.result));
    Err(match (expected, &said.result) {
        (Ok(right), Ok(seen)) => refusal.bytes(&encode(right), &encode_any(seen)),
        _ => refusal,
    })
}

/// For the dump only: a value that is too long for its length is shown nevertheless.
fn encode_any(fields: &[Field]) -> Vec<u8> {
    let one =
        |(kind, value): &Field| [&[*kind][..], &(value.len() as u16).to_be_bytes(), value].concat();
    fields.iter().flat_map(one).collect()
}

fn mistake(
    expected: &Result<Vec<Field>, Damage>,
    seen: &Result<Vec<Field>, Damage>,
    message: &[u8],
) -> &'static str {
    match (expected, seen) {
        (Ok(right), Ok(seen)) if seen.len() < right.len() && right.starts_with(seen) => {
            "it stopped before the end of the message: fields are missing that are whole"
        }
        (Ok(_), Err(d)) if message.len() >= 3 && swapped(message, d) => {
            "the length was read little-endian: its first byte is the high one"
        }
        (Ok(_), Err(d)) if d.have >= d.need => {
            "it reports damage where the field has all it needs: compare have with need"
        }
        (Ok(_), Err(d)) if d.position == message.len() => {
            "the end of the message behind a whole field is no damage: nothing is left"
        }
        (Ok(_), Err(_)) => "it reports damage in a message that is whole",
        (Ok(right), Ok(seen)) if right.len() == seen.len() => {
            "a type or a value is not what stands in the message"
        }
        (Ok(_), Ok(_)) => "it found other fields than stand in the message",
        (Err(right), Ok(seen))
            if seen.iter().map(|f| 3 + f.1.len()).sum::<usize>() <= right.position =>
        {
            "the damaged tail was dropped in silence: the caller takes the message for whole"
        }
        (Err(_), Ok(_)) => "half a field was returned as if it were whole",
        (Err(right), Err(seen)) => wrong_damage(right, seen),
    }
}

/// Whether this damage is what the first field would be with its length the other way round.
fn swapped(message: &[u8], d: &Damage) -> bool {
    d.position == 0 && d.need == 3 + usize::from(u16::from_le_bytes([message[1], message[2]]))
}

fn wrong_damage(right: &Damage, seen: &Damage) -> &'static str {
    if seen.position != right.position {
        "position is where the damaged field begins, at its type: not its value, nor the end"
    } else if seen.need + 3 == right.need && right.need > 3 {
        "need leaves out type and length: it counts from position on, as have does"
    } else if seen.need != right.need && right.need == 3 {
        "need is 3 where type and length are not whole: the length is not known yet"
    } else if seen.need != right.need {
        "need is not what the field needs: 3 bytes and as many as its length says"
    } else if seen.have + 3 == right.have {
        "have leaves out type and length: it counts from position on, as need does"
    } else {
        "have is not what is left of the message from position on"
    }
}

fn whole(child: &mut Child) -> Result<(), Refusal> {
    let three = [field(1, b"one"), field(0, b"\x01\x00\x02"), field(255, b"three")];
    for count in [0, 1, 3] {
        let fields = three[..count].to_vec();
        let what = say!("a message of {count} fields");
        check(child, &encode(&fields), &Ok(fields), &what)?;
    }
    let bytes = pattern(20_000);
    let many = bytes.chunks(2).map(|two| field(two[0], &two[..usize::from(two[1] % 3)]));
    let many: Vec<Field> = many.collect();
    check(child, &encode(&many), &Ok(many), "a message of 10000 fields")
}

fn empty_values(child: &mut Child) -> Result<(), Refusal> {
    let (none, one) = (field(7, b""), field(8, b"x"));
    let lists = [
        vec![none.clone()],
        vec![none.clone(), one.clone()],
        vec![one.clone(), none.clone()],
        vec![none.clone(), none.clone(), one, none],
    ];
    for fields in lists {
        check(child, &encode(&fields), &Ok(fields), "a message with values of 0 bytes")?;
    }
    Ok(())
}

fn lengths(child: &mut Child) -> Result<(), Refusal> {
    let bytes = pattern(65_535);
    for len in [255, 256, 257, 32_767, 32_768, 65_535] {
        let fields = vec![field(1, &bytes[..len]), field(2, b"behind it")];
        check(child, &encode(&fields), &Ok(fields), &say!("a value of {len} bytes"))?;
    }
    Ok(())
}

/// What a message of these fields is when only `cut` bytes are left of it.
fn cut_to(fields: &[Field], cut: usize) -> Result<Vec<Field>, Damage> {
    let mut position = 0;
    for (n, (_, value)) in fields.iter().enumerate() {
        let have = cut - position;
        if have == 0 {
            return Ok(fields[..n].to_vec());
        }
        let need = if have < 3 { 3 } else { 3 + value.len() };
        if have < need {
            return Err(Damage { position, need, have });
        }
        position += need;
    }
    Ok(fields.to_vec())
}

fn cuts(child: &mut Child) -> Result<(), Refusal> {
    let fields = [field(1, b"one"), field(2, b""), field(3, b"HELLO")];
    let message = encode(&fields);
    for cut in 0..=message.len() {
        let what = say!("a message of {} bytes, cut to {cut}", message.len());
        check(child, &message[..cut], &cut_to(&fields, cut), &what)?;
    }
    Ok(())
}

fn claims(child: &mut Child) -> Result<(), Refusal> {
    for claim in [1_u16, 6, 0x7fff, 0x8000, 0xfffd, 0xffff] {
        let message = [&[1, 0, 1, b'x', 9][..], &claim.to_be_bytes(), b"short"].concat();
        let have = message.len() - 4;
        let need = 3 + usize::from(claim);
        let expected = if claim == 1 {
            // Behind the value of one byte lies what looks like a field, and is not whole.
            Err(Damage { position: 8, need: 3 + 0x6f72, have: 4 })
        } else {
            Err(Damage { position: 4, need, have })
        };
        let what = say!("a second field that claims {claim} bytes, where 5 are left");
        check(child, &message, &expected, &what)?;
    }
    Ok(())
}

fn many(child: &mut Child) -> Result<(), Refusal> {
    let random = pattern(40_000);
    let mut numbers = random.iter().map(|&b| usize::from(b));
    for _ in 0..1000 {
        let mut next = |below: usize| numbers.next().expect("enough of them") % below;
        let mut fields = Vec::new();
        for _ in 0..next(6) {
            let (kind, start, len) = (next(256) as u8, next(256), next(40));
            fields.push((kind, random[start..start + len].to_vec()));
        }
        let message = encode(&fields);
        let cut = if message.is_empty() { 0 } else { next(256) * message.len() / 255 };
        let what = say!("a message of {} bytes, cut to {cut}", message.len());
        check(child, &message[..cut], &cut_to(&fields, cut), &what)?;
    }
    Ok(())
}
