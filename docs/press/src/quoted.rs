//! What the teachers' pages quote of the grader is what it says, and the answers that they name are
//! there. In English a quotation stands in one sentence of the grader's with the message that
//! `classroom/proof` tries the answer for; in Korean it stands in the translation of that sentence.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use polib::catalog::Catalog;
use polib::po_file;

use crate::{korean, prove};

/// What is quoted otherwise, or names an answer that is not there. `english` and `korean` are the
/// assembled books.
///
/// # Errors
/// A page, a catalogue or a list of answers that is missing, or is not what it has to be.
pub fn quoted(root: &Path, english: &Path, korean: &Path) -> anyhow::Result<Vec<String>> {
    let file = root.join("docs/po/classroom.ko.po");
    let catalog = po_file::parse(&file).map_err(|e| anyhow!("{}: {e}", file.display()))?;
    let mut faults = Vec::new();
    for page in prove::pages(english, "md")? {
        let name = page.strip_prefix(english)?.to_string_lossy().into_owned();
        if !name.strip_prefix("teachers-").is_some_and(|rest| rest.starts_with(char::is_numeric)) {
            continue;
        }
        let texts = [english, korean].map(|book| fs::read_to_string(book.join(&name)));
        let [here, there] = texts.map(|text| text.with_context(|| name.clone()));
        let (here, there) = (here?, there?);
        let exercise = here.split([' ', ':', '\n']).nth(2).unwrap_or_default();
        let answers = answers(root, exercise).with_context(|| name.clone())?;
        let (rows, korean_rows) = (rows(&here), rows(&there));
        if rows.is_empty() {
            faults.push(format!("{name}: no table names the answers"));
            continue;
        }
        let quotes = |rows: &[Row]| rows.iter().map(|row| row.quoted.is_some()).collect::<Vec<_>>();
        ensure!(quotes(&rows) == quotes(&korean_rows), "{name}: another table in Korean");
        for (row, korean_row) in rows.iter().zip(&korean_rows) {
            if row.answers.is_empty() {
                faults.push(format!("{name}: a row of a table names no answer"));
            }
            let quotations = row.quoted.as_deref().zip(korean_row.quoted.as_deref());
            for answer in &row.answers {
                let Some(message) = answers.get(answer) else {
                    faults.push(format!("{name}: there is no answer {answer}"));
                    continue;
                };
                let Some((quoted, korean)) = quotations else { continue };
                faults.extend(
                    fault(&catalog, message, quoted, korean)
                        .map(|why| format!("{name} {answer}: {why}")),
                );
            }
        }
        let traced = here.split("\n\n").filter(|text| text.contains("make trace"));
        let nowhere = traced.filter(|text| !text.replace('\n', " ").contains("the lab is there"));
        faults.extend(nowhere.map(|text| format!("{name}: not everybody has the lab: {text}")));
        let named = more(&here).into_iter().filter(|answer| !answers.contains_key(answer));
        faults.extend(named.map(|answer| format!("{name}: there is no answer {answer}")));
    }
    Ok(faults)
}

/// The answers to an exercise that are refused, each with a part of its message.
fn answers(root: &Path, exercise: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let file = root.join(format!("classroom/proof/wrong/{exercise}.diff"));
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut answers = BTreeMap::new();
    for (name, message) in text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(": "))
    {
        let message = match message.strip_prefix("= ") {
            Some(other) => answers.get(other).cloned().unwrap_or_default(),
            None => message.to_owned(),
        };
        let name = name.split_once(" (as ").map_or(name, |(name, _)| name);
        answers.insert(name.to_owned(), message);
    }
    Ok(answers)
}

/// The columns, as their headers call them.
const ANSWER: [&str; 2] = ["answer", "답"];
const SAYS: [&str; 2] = ["what the grader says", "채점기가 하는 말"];

/// A row of a table of answers.
struct Row {
    answers: Vec<String>,
    /// What the grader says, where the table has that.
    quoted: Option<String>,
}

/// The rows of the tables that have a column of answers, which the header calls so.
fn rows(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut columns = None;
    for line in page.lines() {
        let Some(cells) = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else {
            columns = None;
            continue;
        };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let at = |names: [&str; 2]| cells.iter().position(|cell| names.contains(cell));
        match columns {
            None => columns = Some((at(ANSWER), at(SAYS))),
            Some((Some(answer), quoted)) if !line.chars().all(|c| "|-: ".contains(c)) => {
                let quoted = quoted.and_then(|at| cells.get(at)).map(|cell| unescaped(cell));
                rows.push(Row { answers: in_code(cells.get(answer).unwrap_or(&"")), quoted });
            }
            Some(_) => {}
        }
    }
    rows
}

/// The answers that a sentence with `NAME.diff` names.
fn more(page: &str) -> Vec<String> {
    let text = page.replace('\n', " ");
    let sentences = text.split(". ").filter(|sentence| sentence.contains(".diff`"));
    let names =
        sentences.flat_map(|sentence| in_code(sentence.split_once(".diff`").map_or("", |s| s.1)));
    names.collect()
}

fn in_code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Without the backslashes of Markdown.
fn unescaped(cell: &str) -> String {
    let mut out = String::new();
    let mut chars = cell.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' || !chars.peek().is_some_and(char::is_ascii_punctuation) {
            out.push(c);
        }
    }
    out
}

/// What is wrong with a quotation; `…` stands in it for what is left out.
fn fault(catalog: &Catalog, message: &str, quoted: &str, in_korean: &str) -> Option<String> {
    let said = catalog.messages().filter(|one| one.source().starts_with("classroom/grader/"));
    let mut told: Vec<&str> = said.map(|one| one.msgid()).filter(|id| has(id, quoted)).collect();
    // Two sentences may stand in one message.
    let is_it = has(message, quoted) || told.iter().any(|id| is_part(message, id));
    if !is_it || told.is_empty() {
        return Some(format!("quoted is {quoted:?}, and said is {message:?}"));
    }
    // Where it stands in one as it is, what a placeholder may become is of no interest.
    if told.iter().any(|id| id.contains(quoted)) {
        told.retain(|id| id.contains(quoted));
    }
    let korean: Vec<&str> = told.iter().filter_map(|id| korean::of(catalog, id)).collect();
    let is_said = !korean.is_empty() && korean.iter().all(|sentence| has(sentence, in_korean));
    (!is_said).then(|| format!("quoted is {in_korean:?}, and said is {korean:?}"))
}

fn has(sentence: &str, quoted: &str) -> bool {
    quoted.split('…').all(|piece| is_part(piece.trim(), sentence))
}

/// Whether the text is a part of the sentence, where anything may stand for a placeholder; but half
/// of it, at least, is the sentence's own.
fn is_part(text: &str, sentence: &str) -> bool {
    if sentence.contains(text) || !sentence.contains('{') {
        return sentence.contains(text);
    }
    let mut pattern: Vec<Option<char>> = Vec::new();
    let mut rest = sentence;
    while let Some((before, inside)) = rest.split_once('{') {
        let Some((_, after)) = inside.split_once('}') else { break };
        pattern.extend(before.chars().map(Some));
        pattern.push(None);
        rest = after;
    }
    pattern.extend(rest.chars().map(Some));
    // How many letters are the sentence's own where the text has come so far in it.
    let mut own: Vec<Option<usize>> = vec![Some(0); pattern.len() + 1];
    for c in text.chars() {
        let mut next = vec![None; pattern.len() + 1];
        for (from, count) in own.iter().enumerate() {
            let Some(count) = *count else { continue };
            let mut at = from;
            while let Some(None) = pattern.get(at) {
                next[at] = next[at].max(Some(count));
                at += 1;
            }
            if pattern.get(at) == Some(&Some(c)) {
                next[at + 1] = next[at + 1].max(Some(count + 1));
            }
        }
        own = next;
    }
    own.into_iter().flatten().any(|count| 2 * count >= text.chars().count())
}
