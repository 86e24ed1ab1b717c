//! Exercise `tlv`: type, length, value, and damage that is named. Article 3.4.

use crate::prelude::*;

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

type Field = (u8, Vec<u8>);
type Decoded = Result<Vec<Field>, Damage>;

/// Grades the answer: asked to decode the bytes.
pub fn grade(answer: fn(&[u8]) -> Result<Vec<Tlv<'_>>, Damage>) -> ExitCode {
    grading::grade("tlv", CASES, |(): (), given| {
        let (result, said) = given.watch(|| answer(&given.bytes));
        let own = |field: &Tlv<'_>| (field.kind, field.value.to_vec());
        said.with(result.map(|fields| fields.iter().map(own).collect::<Vec<_>>()))
    })
}

const CASES: &[Case] = &[
    ("no field, one, three, ten thousand", whole),
    ("values of 0 bytes, first, last and alone", empty_values),
    ("values of 255 to 65535 bytes", lengths),
    ("the message is cut at every place", cuts),
    ("a length that claims more than there is", claims),
    ("a thousand messages of any fields, each cut somewhere", many),
];

/// A value that is too long for its length is encoded nevertheless: it is only shown.
fn encode(fields: &[Field]) -> Vec<u8> {
    let one =
        |(kind, value): &Field| [&[*kind][..], &(value.len() as u16).to_be_bytes(), value].concat();
    fields.iter().flat_map(one).collect()
}

fn field(kind: u8, value: &[u8]) -> Field {
    (kind, value.to_vec())
}

fn describe(result: &Decoded) -> String {
    match result {
        Ok(fields) => say!("{} fields", fields.len()),
        Err(Damage { position, need, have }) => {
            say!("damage at position {position}: need {need}, have {have}")
        }
    }
}

/// Has `message` decoded and compares.
fn check(child: &mut Child, message: &[u8], expected: &Decoded, what: &str) -> Verdict {
    child.scene(&say!("in a message of {} bytes", message.len()), what, "");
    child.ask((), message, vec![])?;
    let seen = child.said_more::<Decoded>()?.more;
    if seen == *expected {
        return Ok(());
    }
    let refusal = Refusal::new(mistake(expected, &seen, message));
    let refusal = refusal.but(describe(expected), describe(&seen));
    Err(match (expected, &seen) {
        (Ok(right), Ok(seen)) => refusal.bytes(&encode(right), &encode(seen)),
        _ => refusal,
    })
}

fn mistake(expected: &Decoded, seen: &Decoded, message: &[u8]) -> &'static str {
    match (expected, seen) {
        (Ok(right), Ok(seen)) if seen.len() < right.len() && right.starts_with(seen) => {
            "it stopped before the end of the message: fields are missing that are whole"
        }
        (Ok(right), Ok(seen)) if right.len() == seen.len() => {
            "a type or a value is not what stands in the message"
        }
        (Ok(_), Ok(_)) => "it found other fields than stand in the message",
        // What the first field would be with its length the other way round.
        (Ok(_), Err(Damage { position: 0, need, .. }))
            if message.len() >= 3
                && *need == 3 + usize::from(u16::from_le_bytes([message[1], message[2]])) =>
        {
            "the length was read little-endian: its first byte is the high one"
        }
        (Ok(_), Err(d)) if d.have >= d.need => {
            "it reports damage where the field has all it needs: compare have with need"
        }
        (Ok(_), Err(d)) if d.position == message.len() => {
            "the end of the message behind a whole field is no damage: nothing is left"
        }
        (Ok(_), Err(_)) => "it reports damage in a message that is whole",
        (Err(right), Ok(seen)) if encode(seen).len() <= right.position => {
            "the damaged tail was dropped in silence: the caller takes the message for whole"
        }
        (Err(_), Ok(_)) => "half a field was returned as if it were whole",
        (Err(right), Err(seen)) => wrong_damage(right, seen),
    }
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

fn whole(child: &mut Child) -> Verdict {
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

fn empty_values(child: &mut Child) -> Verdict {
    for kinds in [&b"\0"[..], b"\0x", b"x\0", b"\0\0x\0"] {
        let one = |&kind: &u8| field(kind, if kind == 0 { b"" } else { b"x" });
        let fields: Vec<Field> = kinds.iter().map(one).collect();
        check(child, &encode(&fields), &Ok(fields), "a message with values of 0 bytes")?;
    }
    Ok(())
}

fn lengths(child: &mut Child) -> Verdict {
    let bytes = pattern(65_535);
    for len in [255, 256, 257, 32_767, 32_768, 65_535] {
        let fields = vec![field(1, &bytes[..len]), field(2, b"behind it")];
        check(child, &encode(&fields), &Ok(fields), &say!("a value of {len} bytes"))?;
    }
    Ok(())
}

/// A message of these fields, of which only `cut` bytes are left.
fn cut_to(child: &mut Child, fields: &[Field], cut: usize) -> Verdict {
    let message = encode(fields);
    let (mut position, mut expected) = (0, Ok(fields.to_vec()));
    for (n, (_, value)) in fields.iter().enumerate() {
        let have = cut - position;
        let need = if have < 3 { 3 } else { 3 + value.len() };
        if have == 0 {
            expected = Ok(fields[..n].to_vec());
            break;
        } else if have < need {
            expected = Err(Damage { position, need, have });
            break;
        }
        position += need;
    }
    let what = say!("a message of {} bytes, cut to {cut}", message.len());
    check(child, &message[..cut], &expected, &what)
}

fn cuts(child: &mut Child) -> Verdict {
    let fields = [field(1, b"one"), field(2, b""), field(3, b"HELLO")];
    (0..=encode(&fields).len()).try_for_each(|cut| cut_to(child, &fields, cut))
}

fn claims(child: &mut Child) -> Verdict {
    for claim in [1_u16, 6, 0x7fff, 0x8000, 0xfffd, 0xffff] {
        let message = [&[1, 0, 1, b'x', 9][..], &claim.to_be_bytes(), b"short"].concat();
        let have = message.len() - 4;
        let expected = Err(match usize::from(claim) {
            // Behind the value of one byte lies what looks like a field, and is not whole.
            1 => Damage { position: 8, need: 3 + 0x6f72, have: 4 },
            claim => Damage { position: 4, need: 3 + claim, have },
        });
        let what = say!("a second field that claims {claim} bytes, where 5 are left");
        check(child, &message, &expected, &what)?;
    }
    Ok(())
}

fn many(child: &mut Child) -> Verdict {
    let random = pattern(40_000);
    let mut numbers = random.iter().map(|&b| usize::from(b));
    let mut next = |below: usize| numbers.next().expect("enough of them") % below;
    for _ in 0..1000 {
        let mut fields = Vec::new();
        for _ in 0..next(6) {
            let (kind, start, len) = (next(256) as u8, next(256), next(40));
            fields.push(field(kind, &random[start..start + len]));
        }
        let len = encode(&fields).len();
        cut_to(child, &fields, if len == 0 { 0 } else { next(256) * len / 255 })?;
    }
    Ok(())
}
