//! The learner's language: what the grader says in English is looked up in
//! `docs/po/classroom.ko.po`.
//!
//! Every sentence stands in the source in English, alone or in `say!`. Where it is printed, or put
//! into another one, it is looked up; what is not in the catalogue stays as it is.

use std::env;
use std::sync::OnceLock;

// `KOREAN`: each sentence and its translation, in the order of the sentences.
include!(concat!(env!("OUT_DIR"), "/korean.rs"));

/// Whether the learner reads Korean: by the first of LANGUAGE, LC_ALL, LC_MESSAGES, LANG that is
/// set.
pub fn is_korean() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| chosen().is_some_and(|language| language.starts_with("ko")))
}

/// The language that the environment names.
pub fn chosen() -> Option<String> {
    let variables = ["LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"];
    variables.into_iter().filter_map(|name| env::var(name).ok()).find(|value| !value.is_empty())
}

/// A sentence in Korean.
pub fn korean(english: &str) -> Option<&'static str> {
    let at = KOREAN.binary_search_by_key(&english, |(english, _)| *english).ok()?;
    Some(KOREAN[at].1)
}

/// The sentence that has this Korean, however that is broken into lines.
pub fn english(korean: &str) -> Option<&'static str> {
    let same = |other: &str| other.split_whitespace().eq(korean.split_whitespace());
    KOREAN.iter().find(|(_, text)| same(text)).map(|(english, _)| *english)
}

/// A sentence in the learner's language.
pub fn told(english: &str) -> &str {
    let korean = if is_korean() { korean(english) } else { None };
    korean.unwrap_or(english)
}

/// A sentence in the learner's language, with `{name}` replaced by what is called so, and each `{}`
/// by what comes next.
pub fn say(english: &str, values: &[(&str, String)]) -> String {
    fill(told(english), values)
}

fn fill(sentence: &str, values: &[(&str, String)]) -> String {
    let mut unnamed = values.iter().filter(|(name, _)| name.is_empty());
    let mut out = String::new();
    let mut rest = sentence;
    while let Some((before, inside)) = rest.split_once('{') {
        let Some((place, after)) = inside.split_once('}') else { break };
        let name = place.split(':').next().unwrap_or_default();
        let value = match name.parse() {
            Ok(n) => values.iter().filter(|(name, _)| name.is_empty()).nth(n),
            Err(_) if name.is_empty() => unnamed.next(),
            Err(_) => values.iter().find(|(known, _)| *known == name),
        };
        out += before;
        out += value.map_or("", |(_, value)| told(value));
        rest = after;
    }
    out + rest
}

/// A label in a column of nine, in which a Korean letter takes two.
pub fn column(label: &str) -> String {
    let label = told(label);
    format!("{label}{:1$}", "", 9_usize.saturating_sub(textwrap::core::display_width(label)))
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn values_are_put_in_by_name_and_in_order() {
        let values = [("", "3".into()), ("name", "send_all".into()), ("", "8".into())];
        assert_eq!(fill("{} of {}: {name}", &values), "3 of 8: send_all");
        assert_eq!(fill("{name}: {1}, {0}", &values), "send_all: 8, 3");
    }
}
