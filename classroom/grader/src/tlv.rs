//! Exercise `tlv`: type, length, value, and damage that is named. Article 3.4.

use crate::examination::values;
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

type Decoded = Result<Vec<(u8, Vec<u8>)>, Damage>;

/// Grades the answer: asked to decode messages of these lengths. Tells what came of each.
pub fn grade(answer: fn(&[u8]) -> Result<Vec<Tlv<'_>>, Damage>) -> ExitCode {
    grading::grade("tlv", CASES, |lengths: Vec<usize>, given| {
        let mut rest = &given.bytes[..];
        let messages = lengths.into_iter().map(|len| rest.split_off(..len).expect("all of them"));
        let messages: Vec<_> = messages.collect();
        let (results, said) =
            given.watch(|| messages.into_iter().map(answer).collect::<Vec<Result<_, _>>>());
        let own =
            |fields: Vec<Tlv<'_>>| fields.iter().map(|f| (f.kind, f.value.to_vec())).collect();
        said.with(results.into_iter().map(|result| result.map(own)).collect::<Vec<Decoded>>())
    })
}

const CASES: &[Case] = &[
    ("no field, one, three, two hundred thousand", |c| {
        let three = encode(&[(1, &b"one"[..]), (0, b"\x01\x00\x02"), (255, b"three")]);
        let bytes = pattern(400_000);
        let many = bytes.chunks(2).map(|two| (two[0], &two[..usize::from(two[1] % 3)]));
        let many = encode(&many.collect::<Vec<_>>());
        [&b""[..], &three[..6], &three, &many].iter().try_for_each(|message| check(c, message))
    }),
    ("values of 0 bytes, first, last and alone", |c| {
        let (none, one) = (b"\x07\0\0", b"\x08\0\x01x");
        let messages = [&[&none[..]][..], &[none, one], &[one, none], &[none, none, one, none]];
        messages.iter().try_for_each(|fields| check(c, &fields.concat()))
    }),
    ("values of 255 to 65535 bytes", |c| {
        let bytes = pattern(65_535);
        let message = |len: usize| encode(&[(1, &bytes[..len]), (2, b"after it")]);
        let lengths = [255, 256, 257, 32_767, 32_768, 65_535];
        lengths.into_iter().try_for_each(|len| check(c, &message(len)))
    }),
    ("the message is cut at every place", |c| {
        let message = encode(&[(1, &b"one"[..]), (2, b""), (3, b"HELLO")]);
        (0..=message.len()).try_for_each(|cut| check(c, &message[..cut]))?;
        let long = encode(&[(1, &[7; 65_535][..]), (2, b"after it")]);
        let cuts = [1, 2, 3, 65_535, 65_536, 65_537, long.len() - 1];
        cuts.into_iter().try_for_each(|cut| check(c, &long[..cut]))
    }),
    // Behind a value of one byte lies what looks like a field, and is not whole.
    ("a length that claims more than there is", |c| {
        let message =
            |claim: u16| [b"\x01\0\x01x\x09", &claim.to_be_bytes()[..], b"short"].concat();
        let claims = [1, 6, 0x7fff, 0x8000, 0xfffd, 0xffff];
        claims.into_iter().try_for_each(|claim| check(c, &message(claim)))
    }),
    ("zeros, or 0xff, are bytes like all others, also at the end", |c| {
        let field = |value: &[u8]| encode(&[(0, value), (255, value)]);
        values(b"a value").iter().try_for_each(|value| check(c, &field(value)))?;
        [&[255, 0, 0][..], b"\x01\0\0\xff\0\0"].iter().try_for_each(|last| check(c, last))?;
        let front = encode(&[(1, b"one")]);
        (0..20).try_for_each(|n| {
            check(c, &[&front[..n % 2 * 6], &vec![n as u8 % 4 / 2 * 255; n / 2]].concat())
        })
    }),
    ("a thousand messages of any fields, each cut somewhere", many),
];

/// The right answer.
fn decode(message: &[u8]) -> Decoded {
    let (mut fields, mut position) = (Vec::new(), 0);
    while position < message.len() {
        let rest = &message[position..];
        let need = match *rest {
            [_, high, low, ..] => 3 + usize::from(u16::from_be_bytes([high, low])),
            _ => 3,
        };
        if rest.len() < need {
            return Err(Damage { position, need, have: rest.len() });
        }
        fields.push((rest[0], rest[3..need].to_vec()));
        position += need;
    }
    Ok(fields)
}

fn encode(fields: &[(u8, impl AsRef<[u8]>)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (kind, value) in fields {
        let value = value.as_ref();
        all.push(*kind);
        all.extend_from_slice(&(value.len() as u16).to_be_bytes());
        all.extend_from_slice(value);
    }
    all
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
fn check(child: &mut Child, message: &[u8]) -> Verdict {
    let did = told(message, &decode(message));
    child.scene(&say!("in a message of {} bytes", message.len()), &did, "");
    all(child, &[message])
}

fn told(message: &[u8], expected: &Decoded) -> String {
    say!("a message of {} bytes: {}", message.len(), describe(expected))
}

/// Has all of them decoded, and compares.
fn all(child: &mut Child, messages: &[impl AsRef<[u8]>]) -> Verdict {
    let messages: Vec<&[u8]> = messages.iter().map(AsRef::as_ref).collect();
    let lengths: Vec<usize> = messages.iter().map(|message| message.len()).collect();
    child.ask(lengths, &messages.concat(), vec![])?;
    let said = child.said_more::<Vec<Decoded>>()?;
    messages.into_iter().zip(said.more).try_for_each(|(message, seen)| compare(message, seen))
}

fn compare(message: &[u8], seen: Decoded) -> Verdict {
    let expected = decode(message);
    if seen == expected {
        return Ok(());
    }
    let refusal = Refusal::new(mistake(&expected, &seen, message)).peer(told(message, &expected));
    let refusal = refusal.but(describe(&expected), describe(&seen));
    Err(match (&expected, &seen) {
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
        (Ok(_), _) if message.len() > 1 << 15 && message[1] >= 0x80 => {
            "a length from 32768 on is read wrong: its two bytes are a u16, without a sign"
        }
        (Ok(_), Err(d)) if d.have >= d.need => {
            "it reports damage where the field has all it needs: compare have with need"
        }
        (Ok(_), Err(d)) if d.position == message.len() => {
            "the end of the message after a whole field is no damage: nothing is left"
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
    let cuts = [usize::from(right.position as u8), usize::from(right.position as u16)];
    if right.position > 255 && seen.position != right.position && cuts.contains(&seen.position) {
        "position was cut to fewer bits: it is a usize, as a message may be longer than 65535 bytes"
    } else if seen.position != right.position {
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

fn many(child: &mut Child) -> Verdict {
    let random = pattern(40_000);
    let mut numbers = random.iter().map(|&b| usize::from(b));
    let mut next = |below: usize| numbers.next().expect("enough of them") % below;
    let mut messages = vec![Vec::new(); 1000];
    for message in &mut messages {
        for _ in 0..next(6) {
            let (kind, start, len) = (next(256) as u8, next(256), next(40));
            message.extend(encode(&[(kind, &random[start..start + len])]));
        }
        message.truncate(next(256) * message.len() / 255);
    }
    child.scene(&say!("in one of 1000 messages"), &say!("a thousand messages"), "");
    all(child, &messages)
}
