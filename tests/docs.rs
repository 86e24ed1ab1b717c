//! What the documents say of examples is true: each is there, and the output in the README is that
//! of a run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const DOCUMENTS: [&str; 16] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "classroom/README.md",
    "docs/README.md",
    "fuzz/README.md",
    "lab/README.md",
    "stage/README.md",
    "tests/README.md",
    "docs/chapters/00-how-to-read.md",
    "docs/errata.md",
    "docs/cpp-to-rust.md",
    "docs/lab.md",
    "docs/traces/README.md",
    "src/lib.rs",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn examples() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    sources.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Every name of the form `s05_half_close` in a text; `s05_*` stands for any of section 5.
fn named(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '*'));
    words
        .filter(|word| {
            let bytes = word.as_bytes();
            bytes.len() > 4
                && bytes[0] == b's'
                && bytes[1..3].iter().all(u8::is_ascii_digit)
                && bytes[3] == b'_'
        })
        .collect()
}

#[test]
fn every_example_that_is_named_is_there() {
    let examples = examples();
    let dir = "classroom/docs";
    let pages = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let pages = pages.map(|name| format!("{dir}/{name}"));
    for document in DOCUMENTS.into_iter().map(str::to_owned).chain(pages) {
        for name in named(&read(&document)) {
            let there = match name.strip_suffix('*') {
                Some(prefix) => examples.iter().any(|example| example.starts_with(prefix)),
                None => examples.iter().any(|example| example == name),
            };
            assert!(there, "{document} names {name}, and there is no such example");
        }
    }
}

/// Every Markdown file in a directory, but for what a build makes.
fn pages(dir: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if dir == "." { name.clone() } else { format!("{dir}/{name}") };
        if entry.file_type().unwrap().is_dir() && name != "target" && !name.starts_with('.') {
            pages(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// What a link to this heading has after its `#`.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn what_a_page_links_to_is_there() {
    let mut documents = vec!["src/lib.rs".to_owned()];
    pages(".", &mut documents);
    for document in documents {
        let text = read(&document);
        let prose: String = text.split("```").step_by(2).collect(); // without blocks of code
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") {
                continue;
            }
            let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(&document);
            let path = if file.is_empty() { own } else { own.with_file_name("").join(file) };
            assert!(path.exists(), "{document} links to {link}, and it is not there");
            if !heading.is_empty() && path.extension().is_some_and(|ext| ext == "md") {
                let page = fs::read_to_string(&path).unwrap();
                let mut headings = page.lines().filter(|line| line.starts_with('#'));
                let there = headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(there, "{document} links to {link}, and it has no such heading");
            }
        }
    }
}

/// The rows of the tables in `text`, cell by cell.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    lines.map(|line| line.split(" | ").collect())
}

#[test]
fn the_errata_have_a_row_for_each_claim_that_does_not_simply_hold() {
    let ledger = read("docs/claims.md");
    let (as_a_socket_sees_it, _) = ledger.split_once("## On the wire").expect("two tables");
    let differs = |row: &Vec<&str>| !row[3].trim_end_matches("\\*").eq("holds");
    let claims = rows(as_a_socket_sees_it).filter(|row| row.len() == 6 && row[0] != "id");
    let expected: BTreeSet<&str> =
        claims.filter(|row| row[0] != "---").filter(differs).map(|row| row[0]).collect();

    let errata = read("docs/errata.md");
    let (of_the_kernel, _) = errata.split_once("## What its code does").expect("two tables");
    let listed = rows(of_the_kernel).filter(|row| !["id", "---"].contains(&row[0]));
    let listed: BTreeSet<&str> = listed.map(|row| row[0]).collect();
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(listed, expected);
}

#[test]
fn each_row_of_the_errata_can_be_run() {
    let errata = read("docs/errata.md");
    let rows: Vec<_> = rows(&errata).filter(|row| !["id", "§", "---"].contains(&row[0])).collect();
    assert!(rows.len() > 20);
    for row in rows {
        assert_eq!(named(row[row.len() - 2]).len(), 1, "{row:?}");
    }
}

#[test]
fn no_page_recommends_what_the_errata_correct() {
    for document in DOCUMENTS.iter().filter(|name| **name != "docs/errata.md") {
        let text = read(document);
        let filter = text.split("trace=network").skip(1).find(|rest| !rest.starts_with(",close"));
        assert!(filter.is_none(), "{document}: -e trace=network never shows close (O3)");
    }
}

#[test]
fn the_readme_counts_the_claims() {
    let claims = stage::claims::all().count();
    assert!(read("README.md").contains(&format!("the article's {claims} claims")), "{claims}");
    assert!(read("README.ko.md").contains(&format!("주장 {claims}개")), "{claims}");
}

#[test]
fn the_readme_promises_the_rust_that_is_built_with() {
    let manifest = read("Cargo.toml");
    let after = manifest.split("rust-version = \"").nth(1).expect("a version");
    let version = after.split('"').next().unwrap();
    for page in ["README.md", "README.ko.md"] {
        assert!(read(page).contains(version), "{page} does not name Rust {version}");
    }
}

#[test]
fn the_output_in_the_readme_is_that_of_a_run() {
    let readme = read("README.md");
    let after = readme.split("<!-- the output of s05_half_close").nth(1).expect("the mark");
    let shown = after.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let run = Command::new(example("s05_half_close")).output().expect("run the example");
    let observed = String::from_utf8(run.stdout).unwrap();
    // The two roles' lines interleave as it happens.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(shown), sorted(&observed));
}

/// Beside this test's own binary, in `target/debug/examples`.
fn example(name: &str) -> PathBuf {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.parent().unwrap().join("examples").join(name)
}
