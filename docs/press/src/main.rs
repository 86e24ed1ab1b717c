//! What `make docs` does, step by step: assemble, translate, label, prove, mark.

use std::path::PathBuf;
use std::process::ExitCode;

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
        /// What the examples printed: a directory with NAME.txt for each
        #[arg(long)]
        outputs: Option<PathBuf>,
    },
    /// Write the Korean pages of the assembled English ones
    Translate {
        /// The project's root
        root: PathBuf,
        /// The assembled English pages
        english: PathBuf,
        /// Where to
        out: PathBuf,
    },
    /// Bring docs/po/ko.po and docs/po/classroom.ko.po up to date: changed strings fuzzy, new ones
    /// empty, those gone dropped
    Strings {
        /// The project's root
        root: PathBuf,
        /// The assembled English pages
        english: PathBuf,
    },
    /// Put what mdBook prints around the pages of the built Korean book into Korean
    Label {
        /// The built book
        book: PathBuf,
    },
    /// Mark what is searched in the built book
    Mark {
        /// The built book
        book: PathBuf,
    },
    /// Serve the built books to this machine until Ctrl-C, and open one in a browser
    Show {
        /// Where they are
        books: PathBuf,
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
        Verb::Assemble { root, out, outputs } => press::assemble(&root, &out, outputs.as_deref()),
        Verb::Translate { root, english, out } => press::Korean::read(&root).and_then(|korean| {
            let faults = korean.faults(&english)?.len();
            if faults > 0 {
                eprintln!(
                    "press: strings of the Korean book that want a translator: {faults}. `make \
                         strings` marks them in docs/po/ko.po; until then they are in English"
                );
            }
            korean.translate(&english, &out)
        }),
        Verb::Strings { root, english } => press::Korean::read(&root)
            .and_then(|korean| korean.merge(&english))
            .and_then(|()| press::Classroom::read(&root)?.merge()),
        Verb::Label { book } => press::label(&book),
        Verb::Mark { book } => press::mark_for_search(&book).map(|_| ()),
        Verb::Show { books } => press::show(&books),
        Verb::Prove { root, book } => press::sources(&root)
            .and_then(|files| press::prove(&root, &book, "html", &files))
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
