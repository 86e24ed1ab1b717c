//! What a learner reads when a case fails.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use say::say;

use crate::language::{column, told};

/// Two mistakes that look alike from outside.
pub const UNFOUNDED: &str =
    "no call had failed, and it returned an error: one of its own, or errno read without a -1";

/// The one mistake that all can make.
pub const INTERRUPTED: &str = "EINTR was returned as an error: nothing is broken, call again";

/// An error of the kernel's without its number.
pub const NO_ERRNO: &str =
    "the error was put together anew, and its errno is lost: last_os_error has it, or SO_ERROR";

/// Bytes that another descriptor of the connection was to read.
pub const DRAINED: &str =
    "what was unread was read away before close: another descriptor of the connection loses it";

/// Bytes wait in the kernel though there is room for them.
pub const HELD: &str = "the kernel was told that more would follow, and waits: MSG_MORE";

/// How a connection ends is not for who only sends or receives.
pub const SHUT: &str = "it shut the connection down: how long it lasts is for its owner to say";

/// A mistake of who makes descriptors.
pub const ZERO: &str = "descriptor 0 was taken for a failure: it is one like any other, -1 is none";

/// What a case comes to.
pub type Verdict = Result<(), Refusal>;

/// Why a case failed. The first sentence names the likely mistake, and no other mistake has it.
#[derive(Debug, Default)]
pub struct Refusal {
    /// The likely mistake, in one sentence.
    pub mistake: String,
    /// What the peer did.
    pub peer: String,
    /// What a right answer shows.
    pub expected: String,
    /// What was seen instead.
    pub seen: String,
    /// Where bytes differ: those expected and those seen.
    pub bytes: Option<Box<(Vec<u8>, Vec<u8>)>>,
    /// Nothing has been written yet: this is no failure.
    pub not_started: bool,
    /// It could not be tried on this machine: this is no failure.
    pub skipped: bool,
}

impl Refusal {
    /// Begins with the likely mistake.
    pub fn new(mistake: impl Into<String>) -> Refusal {
        Refusal { mistake: told(&mistake.into()).into(), ..Refusal::default() }
    }

    /// Says what the peer did.
    pub fn peer(mut self, what: impl Into<String>) -> Refusal {
        self.peer = told(&what.into()).into();
        self
    }

    /// Says what was expected, and what was seen.
    pub fn but(mut self, expected: impl Into<String>, seen: impl Into<String>) -> Refusal {
        self.expected = told(&expected.into()).into();
        self.seen = told(&seen.into()).into();
        self
    }

    /// Shows the place where the bytes differ.
    pub fn bytes(mut self, expected: &[u8], seen: &[u8]) -> Refusal {
        self.bytes = Some(Box::new((expected.into(), seen.into())));
        self
    }
}

/// Refuses: the likely mistake, what was expected, and what was seen.
pub fn refuse<T>(
    mistake: impl Into<String>,
    expected: impl Into<String>,
    seen: impl Into<String>,
) -> Result<T, Refusal> {
    Err(Refusal::new(mistake).but(expected, seen))
}

/// The same where this is not so.
pub fn ensure(
    is_so: bool,
    mistake: impl Into<String>,
    expected: impl Into<String>,
    seen: impl Into<String>,
) -> Verdict {
    if is_so { Ok(()) } else { refuse(mistake, expected, seen) }
}

/// The same where there is a mistake.
pub fn judge(
    mistake: impl Into<String>,
    expected: impl Into<String>,
    seen: impl Into<String>,
) -> Verdict {
    let mistake = mistake.into();
    ensure(mistake.is_empty(), mistake, expected, seen)
}

/// The first of these mistakes that was made, or nothing: `first! { made => "its name", … }`.
macro_rules! first {
    ($($made:expr => $mistake:expr,)*) => {'found: {
        $(if $made {
            break 'found $mistake;
        })*
        Default::default()
    }};
}

pub(crate) use first;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dim = Style::new().dimmed();
        let lines = [
            (say!("the peer"), &self.peer),
            (say!("expected"), &self.expected),
            (say!("seen"), &self.seen),
        ];
        for (label, text) in lines.into_iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(f, "  {dim}{}{dim:#} {text}", column(&label))?;
        }
        if let Some((expected, seen)) = self.bytes.as_deref() {
            f.write_str(&difference(expected, seen))?;
        }
        let red = AnsiColor::Red.on_default().bold();
        let likely = column(&say!("likely"));
        writeln!(f, "  {dim}{likely}{dim:#} {red}{}{red:#}", self.mistake)
    }
}

/// So many bytes at the front are the same.
pub fn same(one: &[u8], other: &[u8]) -> usize {
    let all = one.len().min(other.len());
    match one[..all] == other[..all] {
        true => all, // many bytes, and found at once
        false => one.iter().zip(other).take_while(|(a, b)| a == b).count(),
    }
}

/// Both sides around the first byte that differs, in hex and as text.
pub fn difference(expected: &[u8], seen: &[u8]) -> String {
    let at = same(expected, seen);
    let from = (at & !15).saturating_sub(16);
    let mut out = String::new();
    let _ = writeln!(out, "  {}", say!("the first difference is at byte {at}:"));
    for (label, bytes) in [(say!("expected"), expected), (say!("seen"), seen)] {
        let _ = writeln!(out, "  {} {}", column(&label), say!("{} bytes", bytes.len()));
        for row in 0..3 {
            let start = from + row * 16;
            if start > bytes.len() || (start == bytes.len() && start > at) {
                break;
            }
            let row = &bytes[start..bytes.len().min(start + 16)];
            let _ = writeln!(out, "    {}", hex_row(start, row, at));
        }
    }
    out
}

/// `00000010  68 65>6c 6c 6f  hel…`: the byte after `>` is the first that differs.
fn hex_row(start: usize, row: &[u8], mark: usize) -> String {
    let hex = (0..16).map(|column| {
        let gap = if start + column == mark { '>' } else { ' ' };
        row.get(column).map_or(format!("{gap}  "), |byte| format!("{gap}{byte:02x}"))
    });
    let shown = |&b: &u8| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '.' };
    let (hex, text) = (hex.collect::<String>(), row.iter().map(shown).collect::<String>());
    format!("{start:08x} {hex}  {text}").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_first_differing_byte_is_marked() {
        let text = difference(b"hello world", b"hello wOrld");
        assert!(text.contains("at byte 7:"), "{text}");
        assert!(text.contains(">6f 72 6c 64") && text.contains(">4f 72 6c 64"), "{text}");
    }

    #[test]
    fn a_missing_tail_differs_at_its_first_byte() {
        let text = difference(&[7; 40], &[7; 32]);
        assert!(text.contains("at byte 32:") && text.contains("seen      32 bytes"), "{text}");
        assert!(difference(b"", b"x").contains("at byte 0:"));
    }
}
