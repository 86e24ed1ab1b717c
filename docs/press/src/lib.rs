//! Makes the book's pages out of the sources and of `docs/`.
//!
//! ```text
//! pieces     a source file in pieces: a comment, and the lines that it stands above
//! page       such a file as a page: prose beside code
//! parts      the body of a function, where a page asks for it
//! run        below an example's page: what the lab saw of it, and its claims' verdicts
//! chapters   a chapter's lists: its examples, claims, errata; the table of contents
//! exercises  a chapter's end: its questions, the classroom's exercises of that section
//! links      names become links; each link leads somewhere
//! korean     the same pages in Korean, by docs/po/ko.po
//! figures    what a run writes into a page, which is not translated
//! classroom  what the classroom says, for its own catalogue
//! quoted     what the teachers' pages quote of the grader is what it says
//! labels     what mdBook prints around them, in Korean
//! search     which part of which page is searched
//! show       the book on the loopback, in a browser
//! prove      each line of the sources stands in the book exactly once
//! ```

mod chapters;
mod classroom;
mod exercises;
mod figures;
mod korean;
mod labels;
mod links;
mod page;
mod parts;
mod pieces;
mod prove;
mod quoted;
mod run;
mod search;
mod show;

use std::fs;
use std::path::Path;

use anyhow::Context;

pub use classroom::Classroom;
pub use korean::Korean;
pub use labels::label;
pub use links::check as check_links;
pub use prove::prove;
pub use quoted::quoted;
pub use search::mark as mark_for_search;
pub use show::{serve, show};

use links::Places;

/// The files that stand in the book: `src` and the examples, from the project's root.
///
/// # Errors
/// What the file system says of one of the directories.
pub fn sources(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut dirs = vec!["src".to_owned(), "examples".to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir)).with_context(|| dir.clone())? {
            let entry = entry?;
            let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                dirs.push(path);
            } else if path.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes what mdBook reads into `out`, which is emptied first. The directory `outputs` has what the
/// examples printed, where they were run.
///
/// # Errors
/// A file that cannot be read or written; a list that no chapter can have.
pub fn assemble(root: &Path, out: &Path, outputs: Option<&Path>) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(out);
    let files = sources(root)?;
    let places = Places::new(root, &files)?;
    let runs = run::Runs::read(root, outputs)?;
    let book = chapters::Book::read(root, &files)?;
    for file in &files {
        let source = fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        let name = example(file);
        let mut page = page::page(file, &source, name.map_or("", |name| runs.note(name)));
        if let Some(chapter) = name.and_then(|name| book.chapter_of(name)) {
            let number = chapter[..2].trim_start_matches('0');
            let back = format!("</p>\n\n[Chapter {number}](../{chapter}) has this example.\n\n");
            page = page.replacen("</p>\n\n", &back, 1);
        }
        if let Some(name) = name {
            page += &runs.of(name, &source);
        }
        let place = file.replace(".rs", ".md");
        write(&out.join(&place), &places.linked(&page, &place))?;
    }
    for (name, text) in book.chapters()? {
        let text = places.moved(&text, &format!("docs/chapters/{name}"));
        write(&out.join(&name), &places.linked(&text, &name))?;
    }
    for (file, place) in &places.pages {
        let text = fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        let text = places.moved(&parts::filled(root, &text)?, file);
        let by_a_run = figures::PAGES.contains(&place.as_str());
        let text = if by_a_run { figures::unbroken(&text) } else { text };
        write(&out.join(place), &places.linked(&text, place))?;
    }
    copy_pictures(&root.join("docs"), out)?;
    write(&out.join("SUMMARY.md"), &book.summary(root, &places.pages)?)
}

fn copy_pictures(from: &Path, out: &Path) -> anyhow::Result<()> {
    for picture in links::pictures(from)? {
        fs::copy(from.join(&picture), out.join(&picture)).with_context(|| picture.clone())?;
    }
    Ok(())
}

/// `s05_half_close` of `examples/s05_half_close.rs`.
fn example(file: &str) -> Option<&str> {
    file.strip_prefix("examples/")?.strip_suffix(".rs")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().context("a path has a parent")?)?;
    fs::write(path, text).with_context(|| format!("{}", path.display()))
}
