//! Makes the book's pages out of the sources and of `docs/`.
//!
//! ```text
//! pieces     a source file in pieces: a comment, and the lines that it stands above
//! page       such a file as a page: prose beside code
//! chapters   a chapter's lists: its examples, claims, errata
//! prove      each line of the sources stands in the built book exactly once
//! ```

mod chapters;
mod page;
mod pieces;
mod prove;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Makes the book out of the sources.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write what mdBook reads: chapters, source pages, the summary
    Assemble {
        /// The project's root
        root: PathBuf,
        /// Where to
        out: PathBuf,
    },
    /// Check that each line of the sources stands in the built book once
    Prove {
        /// The project's root
        root: PathBuf,
        /// The built book
        book: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Options::parse().verb {
        Verb::Assemble { root, out } => assemble(&root, &out),
        Verb::Prove { root, book } => sources(&root)
            .and_then(|files| prove::prove(&root, &book, &files))
            .map(|(files, lines)| println!("{lines} lines of {files} files, each once")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("press: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The files that stand in the book: `src` and the examples, from the project's root.
fn sources(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    for dir in ["src", "src/framing", "src/bin", "examples"] {
        let entries = fs::read_dir(root.join(dir)).with_context(|| dir.to_owned())?;
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".rs") {
                files.push(format!("{dir}/{name}"));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn assemble(root: &Path, out: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(out);
    fs::create_dir_all(out)?;
    let files = sources(root)?;
    for file in &files {
        let source = fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        write(&out.join(file).with_extension("md"), &page::page(file, &source))?;
    }
    let book = chapters::Book::read(root, &files)?;
    for (name, text) in book.chapters()? {
        write(&out.join(name), &text)?;
    }
    write(&out.join("SUMMARY.md"), &book.summary())?;
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().context("a path has a parent")?)?;
    fs::write(path, text).with_context(|| format!("{}", path.display()))
}
