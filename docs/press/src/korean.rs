//! The Korean book: the English pages, translated by `docs/po/ko.po`. What is not yet translated
//! stays in English and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use mdbook_i18n_helpers as i18n;
use polib::catalog::Catalog;
use polib::message::{Message, MessageFlags};
use polib::metadata::CatalogMetadata;
use polib::po_file;

use crate::links::anchor;
use crate::{figures, prove, write};

const ENGLISH_ONLY: &str = "<p class=\"english-only\">이 페이지는 아직 영어로만 있다.</p>";

/// The translations, and the pages that have to be translated as a whole.
pub struct Korean {
    file: PathBuf,
    catalog: Catalog,
    complete: Vec<String>,
}

impl Korean {
    /// Reads `docs/po`.
    ///
    /// # Errors
    /// A file that is missing, or is not what it has to be.
    pub fn read(root: &Path) -> anyhow::Result<Korean> {
        let file = root.join("docs/po/ko.po");
        let catalog = po_file::parse(&file).map_err(|e| anyhow!("docs/po/ko.po: {e}"))?;
        let complete = fs::read_to_string(root.join("docs/po/complete.txt"));
        let complete = complete.context("docs/po/complete.txt")?;
        Ok(Korean { file, catalog, complete: complete.lines().map(str::to_owned).collect() })
    }

    /// Writes the Korean pages of the `english` ones into `out`, which is emptied first.
    ///
    /// # Errors
    /// A page that cannot be read, translated or written.
    pub fn translate(&self, english: &Path, out: &Path) -> anyhow::Result<()> {
        let _ = fs::remove_dir_all(out);
        for page in prove::pages(english, "md")? {
            let place = page.strip_prefix(english)?.to_string_lossy().into_owned();
            let text = anchored(&fs::read_to_string(&page)?);
            let text = if place == "SUMMARY.md" {
                self.summary(&text)
            } else if self.complete.contains(&place) {
                let text = nameless(&place, &text);
                let events = i18n::extract_events(&text, None);
                let by_a_run = figures::PAGES.contains(&&*place);
                let filled = by_a_run.then(|| self.with_figures(&text)).transpose()?;
                let catalog = filled.as_ref().unwrap_or(&self.catalog);
                let events = i18n::translate_events(&events, catalog);
                let events = events.with_context(|| place.clone())?;
                let text = i18n::reconstruct_markdown(&events, None);
                named(&place, &text.with_context(|| place.clone())?.0)
            } else {
                let (title, rest) = text.split_once('\n').unwrap_or((&text, ""));
                format!("{title}\n\n{ENGLISH_ONLY}\n{rest}")
            };
            write(&out.join(place), &text)?;
        }
        crate::copy_pictures(english, out)
    }

    /// The translations of a page that a run wrote, with the figures of that run.
    fn with_figures(&self, text: &str) -> anyhow::Result<Catalog> {
        let mut catalog = Catalog::new(CatalogMetadata::new());
        for (_, found) in i18n::extract_messages(text)? {
            let (mask, figures) = figures::masked(&found.message);
            if let Some(korean) = of(&self.catalog, &mask) {
                let mut message = Message::build_singular();
                message.with_msgstr(figures::filled(korean, &figures));
                catalog.append_or_update(message.with_msgid(found.message).done());
            }
        }
        Ok(catalog)
    }

    /// The titles, as far as they are translated.
    fn summary(&self, text: &str) -> String {
        let line = |line: &str| match title(line) {
            Some((before, title, after)) => {
                format!("{before}{}{after}", of(&self.catalog, title).unwrap_or(title))
            }
            None => line.to_owned(),
        };
        text.lines().map(line).collect::<Vec<String>>().join("\n") + "\n"
    }

    /// The strings of the pages that have to be complete, and the titles of all pages; each with the
    /// first page that it is on.
    ///
    /// # Errors
    /// A page that is listed and is not there.
    pub fn strings(&self, english: &Path) -> anyhow::Result<Vec<(String, String)>> {
        let mut strings = Vec::new();
        let mut seen = BTreeSet::new();
        let mut add = |place: &str, id: &str| {
            if is_prose(id) && seen.insert(id.to_owned()) {
                strings.push((id.to_owned(), place.to_owned()));
            }
        };
        let read =
            |place: &str| fs::read_to_string(english.join(place)).with_context(|| place.to_owned());
        for place in &self.complete {
            let text = nameless(place, &anchored(&read(place)?));
            for (_, found) in i18n::extract_messages(&text)? {
                match figures::PAGES.contains(&&**place) {
                    true => add(place, &figures::masked(&found.message).0),
                    false => add(place, &found.message),
                }
            }
        }
        for (_, title, _) in read("SUMMARY.md")?.lines().filter_map(title) {
            add("SUMMARY.md", title);
        }
        Ok(strings)
    }

    /// What is wanting: strings without a translation, or with one to look at again (fuzzy);
    /// translations with other code or links in them; and those of what no page says any more.
    ///
    /// # Errors
    /// As `strings`.
    pub fn faults(&self, english: &Path) -> anyhow::Result<Vec<String>> {
        Ok(faults(&self.catalog, &self.strings(english)?, |id, text| kept(id) == kept(text)))
    }

    /// Writes `docs/po/ko.po` anew: see `merge`.
    ///
    /// # Errors
    /// As `strings`; what the file system says.
    pub fn merge(self, english: &Path) -> anyhow::Result<()> {
        let strings = self.strings(english)?;
        merge(self.catalog, &strings, &self.file)
    }
}

/// A translation that may be shown.
pub fn of<'a>(catalog: &'a Catalog, id: &str) -> Option<&'a str> {
    let message = catalog.find_message(None, id, None)?;
    (message.is_translated() && !message.is_fuzzy()).then(|| message.msgstr().ok()).flatten()
}

/// What is wanting in a catalogue of these strings, each with its place. `keeps` says whether a
/// translation has all that it has to keep.
pub fn faults(
    catalog: &Catalog,
    strings: &[(String, String)],
    keeps: impl Fn(&str, &str) -> bool,
) -> Vec<String> {
    let untold = strings.iter().filter(|(id, _)| of(catalog, id).is_none());
    let mut faults: Vec<String> =
        untold.map(|(id, place)| format!("{place}: no translation of {id:?}")).collect();
    let differs = |id: &str| of(catalog, id).is_some_and(|text| !keeps(id, text));
    let other = strings.iter().filter(|(id, _)| differs(id));
    faults.extend(other.map(|(id, place)| format!("{place}: other code or links for {id:?}")));
    let said: BTreeSet<&str> = strings.iter().map(|(id, _)| id.as_str()).collect();
    // What a run left out, on a machine that cannot measure it, another run says.
    let by_a_run = |source: &str| figures::PAGES.contains(&source);
    let stale = catalog.messages().filter(|message| !said.contains(message.msgid()));
    let stale = stale.filter(|message| !by_a_run(message.source()));
    faults.extend(stale.map(|message| {
        let korean = message.msgstr().unwrap_or_default();
        format!("ko.po: no page says {:?} any more. Its Korean is {korean:?}", message.msgid())
    }));
    faults
}

/// Writes a catalogue anew, in the order of the strings: new strings without a translation, or with
/// that of a like string that has gone, to look at again (fuzzy); the others that have gone are
/// dropped.
pub fn merge(catalog: Catalog, strings: &[(String, String)], file: &Path) -> anyhow::Result<()> {
    let said: BTreeSet<&str> = strings.iter().map(|(id, _)| id.as_str()).collect();
    let gone = catalog.messages().filter(|message| !said.contains(message.msgid()));
    let gone: Vec<_> = gone.filter(|message| message.is_translated()).collect();
    let mut fuzzy = MessageFlags::new();
    fuzzy.add_flag("fuzzy");
    let mut messages = Vec::new();
    for (id, place) in strings {
        let mut message = Message::build_singular();
        message.with_msgid(id.clone()).with_source(place.clone());
        let like = gone.iter().map(|message| (likeness(message.msgid(), id), message));
        let like = like.filter(|(share, _)| *share > 0.5).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(known) = catalog.find_message(None, id, None) {
            message.with_msgstr(known.msgstr().unwrap_or_default().into());
            message.with_flags(known.flags().clone());
        } else if let Some((_, like)) = like {
            message.with_msgstr(like.msgstr().unwrap_or_default().into());
            message.with_flags(fuzzy.clone());
        }
        messages.push(message.done());
    }
    let mut merged = Catalog::new(catalog.metadata);
    for message in messages {
        merged.append_or_update(message);
    }
    po_file::write(&merged, file).with_context(|| file.display().to_string())
}

/// How alike two strings are, from 0 to 1: the share of their words that both have.
fn likeness(one: &str, other: &str) -> f64 {
    let words = |text| str::split_whitespace(text).collect::<BTreeSet<&str>>();
    let (one, other) = (words(one), words(other));
    one.intersection(&other).count() as f64 / one.union(&other).count().max(1) as f64
}

/// A line of the summary in three: up to its title, the title, and the rest.
fn title(line: &str) -> Option<(&str, &str, &str)> {
    let from = line.find("- [")? + 3;
    let to = line.rfind("](")?;
    Some((&line[..from], &line[from..to], &line[to..]))
}

/// What a translation keeps: the code in it, where its links lead, and the marks of a run's figures.
fn kept(text: &str) -> BTreeSet<&str> {
    let code = text.split('`').skip(1).step_by(2);
    let marks = text.match_indices('{').filter_map(|(from, _)| {
        let mark = &text[from..=from + text[from..].find('}')?];
        mark[1..mark.len() - 1].parse::<usize>().ok().map(|_| mark)
    });
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    code.chain(links).chain(marks).collect()
}

/// What stands for an example's name on its own page, so that what all these pages say is
/// translated once.
const NAME: &str = "EXAMPLE";

fn nameless(place: &str, text: &str) -> String {
    example_of(place).map_or_else(|| text.to_owned(), |name| text.replace(name, NAME))
}

fn named(place: &str, text: &str) -> String {
    example_of(place).map_or_else(|| text.to_owned(), |name| text.replace(NAME, name))
}

/// `s05_half_close` of `examples/s05_half_close.md`.
fn example_of(place: &str) -> Option<&str> {
    place.strip_prefix("examples/")?.strip_suffix(".md")
}

/// Whether a string is to be translated: code, a name such as `s01_peek` or `src/lib.rs`, a number
/// with its unit or what is Korean already is not.
pub fn is_prose(text: &str) -> bool {
    let mut outside = text.split('`').step_by(2).flat_map(|part| part.split("](").enumerate());
    let is_word = |word: &str| {
        let small = word.chars().filter(char::is_ascii_lowercase).count();
        let word = word.trim_matches('.');
        word == "A"
            || small > 1 && !word.contains(|c: char| "_/.\u{a0}".contains(c) || c.is_ascii_digit())
    };
    let has_words = |(place, part): (usize, &str)| {
        let target = if place > 0 { part.find(')').unwrap_or(part.len()) } else { 0 };
        let is_between = |c: char| !c.is_alphanumeric() && !"_/.\u{a0}".contains(c);
        part[target..].split(is_between).any(is_word)
    };
    !prove::has_hangul(text) && outside.any(has_words)
}

/// Each heading with the name that it has in English, so that links and the switch between the
/// languages find it in both.
fn anchored(text: &str) -> String {
    let mut fenced = false;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let line = |line: &str| {
        fenced ^= line.starts_with("```");
        let heading = line.starts_with('#') && line.trim_start_matches('#').starts_with(' ');
        if fenced || !heading || line.ends_with('}') {
            return line.to_owned();
        }
        let id = anchor(line.trim_start_matches('#').trim());
        let count = counts.entry(id.clone()).or_default();
        *count += 1;
        match *count {
            1 => format!("{line} {{#{id}}}"),
            n => format!("{line} {{#{id}-{}}}", n - 1),
        }
    };
    text.lines().map(line).collect::<Vec<String>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_code_are_not_prose() {
        for text in [
            "EXAMPLE",
            "`send`",
            "[s01_peek](examples/s01_peek.md)",
            "src/lib.rs",
            "1 MiB",
            "1\u{a0}ns",
            "부분 읽기",
        ] {
            assert!(!is_prose(text), "{text}");
        }
        for text in [
            "length",
            "`send` returns.",
            "[`a`](b.md), and `c`",
            "r01 to r03",
            "2 loops",
            "A `u16`.",
        ] {
            assert!(is_prose(text), "{text}");
        }
    }
}
