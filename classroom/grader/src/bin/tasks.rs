//! Puts the tasks, the hints and the welcome of a classroom into the learner's language: the
//! comments of `exercises/`, and the texts of `info.toml`. What a learner wrote stays as it is.
//! A file that is missing is told of, and is a failure where its exercise is the one asked for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use grader::about::About;
use grader::language::{chosen, english, is_korean, korean};
use grader::paragraphs::paragraphs;
use textwrap::{Options, WordSplitter};

/// Columns of a line, in which a Korean letter takes two.
const WIDTH: usize = 100;

fn main() -> ExitCode {
    let Some(classroom) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("tasks CLASSROOM [EXERCISE]: its directory is missing");
        return ExitCode::from(2);
    };
    let asked = env::args().nth(2);
    let is_asked = |about: &&About| asked.as_deref().is_none_or(|name| name == about.name);
    let missing = grader::ALL.iter().filter(is_asked).filter_map(|one| one.missing(&classroom));
    let missing: Vec<String> = missing.collect();
    missing.iter().for_each(|why| eprintln!("{why}"));
    if asked.is_some() && !missing.is_empty() {
        return ExitCode::FAILURE;
    }
    // A language that nobody chose changes nothing.
    if !is_korean() && !chosen().is_some_and(|language| language.starts_with("en")) {
        return ExitCode::SUCCESS;
    }
    let mut files = vec![classroom.join("info.toml")];
    files.extend(grader::ALL.iter().map(|about| classroom.join(about.file())));
    for file in files {
        match translate(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                eprintln!("{}: {e}", file.display());
                return ExitCode::FAILURE;
            }
            _ => {}
        }
    }
    ExitCode::SUCCESS
}

/// Writes a file anew where that changes it.
fn translate(file: &Path) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    let is_source = file.extension().is_some_and(|extension| extension == "rs");
    let new = if is_source { with_comments(&text) } else { with_texts(&text) };
    if new != text { fs::write(file, new) } else { Ok(()) }
}

/// A source file with its comments in the learner's language.
fn with_comments(source: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let (mut out, mut done) = (String::new(), 0);
    for paragraph in paragraphs(source) {
        let new = match is_korean() {
            true => korean(&paragraph.text).map(|text| wrap(text, WIDTH - paragraph.mark.len())),
            false => english(&paragraph.text).map(String::from),
        };
        let Some(new) = new else { continue };
        lines[done..paragraph.from].iter().for_each(|line| out += &format!("{line}\n"));
        new.lines().for_each(|line| out += &format!("{}{line}\n", paragraph.mark));
        done = paragraph.to;
    }
    lines[done..].iter().for_each(|line| out += &format!("{line}\n"));
    out
}

/// `info.toml` with what stands between `"""` in the learner's language.
fn with_texts(toml: &str) -> String {
    let told = |text| if is_korean() { korean(text) } else { english(text) };
    let parts = toml.split("\"\"\"").enumerate();
    let parts = parts.map(|(n, part)| if n % 2 == 1 { told(part).unwrap_or(part) } else { part });
    parts.collect::<Vec<_>>().join("\"\"\"")
}

/// Lines of so many columns. What follows the first line of an item stands below its text.
fn wrap(text: &str, width: usize) -> String {
    let indent = if text.starts_with("- ") { "  " } else { "" };
    let whole_words = Options::new(width).break_words(false).subsequent_indent(indent);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    textwrap::fill(&words, whole_words.word_splitter(WordSplitter::NoHyphenation))
}
