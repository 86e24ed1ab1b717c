//! The chapters, and the lists in them: `{{examples}}`, `{{claims}}`, `{{errata}}`,
//! `{{exercises}}`, each for the section of the article that the chapter's name begins with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::exercises::{self, Exercise};

/// What a verdict ends in that is about the wire, too; and what the ledger says of it.
pub const STAR: &str = "\\* |";
const STARRED: &str = "\n\nA verdict with a star is about the wire too, and stands once more in the \
                       second table.";

/// Where all rows are of which a chapter has its own.
const ERRATA: &str = "\n\nThe other sections: [the errata](../errata.md).";

/// What the chapters and the summary are made from.
pub struct Book {
    /// Name of the file, and its text.
    chapters: BTreeMap<String, String>,
    /// Name of an example, and its title.
    examples: BTreeMap<String, String>,
    files: Vec<String>,
    claims: String,
    errata: String,
    exercises: Vec<Exercise>,
}

impl Book {
    /// Reads `docs/` and the headers of the examples.
    pub fn read(root: &Path, files: &[String]) -> anyhow::Result<Book> {
        let docs = root.join("docs");
        let mut chapters = BTreeMap::new();
        for entry in fs::read_dir(docs.join("chapters")).context("docs/chapters")? {
            let path = entry?.path();
            let name = path.file_name().context("a file has a name")?.to_string_lossy();
            chapters.insert(name.into_owned(), fs::read_to_string(&path)?);
        }
        let mut examples = BTreeMap::new();
        for file in files {
            if let Some(name) = file.strip_prefix("examples/") {
                let source = fs::read_to_string(root.join(file))?;
                let title = source.lines().next().and_then(|line| line.strip_prefix("//! "));
                let name = name.trim_end_matches(".rs").to_owned();
                examples.insert(name, title.unwrap_or_default().to_owned());
            }
        }
        Ok(Book {
            chapters,
            examples,
            files: files.to_vec(),
            claims: fs::read_to_string(docs.join("claims.md")).context("docs/claims.md")?,
            errata: fs::read_to_string(docs.join("errata.md")).context("docs/errata.md")?,
            exercises: exercises::read(root)?,
        })
    }

    /// The chapters with their lists.
    pub fn chapters(&self) -> anyhow::Result<Vec<(String, String)>> {
        let filled = self.chapters.iter().map(|(name, text)| {
            let lines = text.lines().map(|line| self.filled(section(name), line));
            let text = lines.collect::<anyhow::Result<Vec<String>>>()?.join("\n");
            Ok((name.clone(), exercises::folded(&(text + "\n"))))
        });
        filled.collect()
    }

    /// One line of a chapter; a list where it names one.
    fn filled(&self, section: &str, line: &str) -> anyhow::Result<String> {
        let Some(what) = line.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else {
            return Ok(line.to_owned());
        };
        match what {
            "examples" => self.examples(section),
            "claims" => {
                let rows = of_section(&self.claims, section, "The ledger has no claim of it.");
                Ok(rows.clone() + if rows.contains(STAR) { STARRED } else { "" })
            }
            "errata" => Ok(of_section(&self.errata, section, "Nothing: here they agree.") + ERRATA),
            "exercises" => Ok(exercises::of_section(&self.exercises, section)),
            _ => anyhow::bail!("{line}: no such list"),
        }
    }

    /// The file of the chapter that an example stands in.
    pub fn chapter_of(&self, example: &str) -> Option<&str> {
        let section = example.get(1..3)?;
        self.chapters.keys().find(|name| name.starts_with(section)).map(String::as_str)
    }

    fn examples(&self, section: &str) -> anyhow::Result<String> {
        let mut table = String::from("| example | to see |\n| --- | --- |\n");
        let rows = self.examples.iter().filter(|(name, _)| name[1..3] == *section);
        for (name, title) in rows.clone() {
            table += &format!("| `{name}` | {title} |\n");
        }
        anyhow::ensure!(rows.count() > 0, "section {section} has no examples to list");
        Ok(table)
    }

    /// mdBook's table of contents: each chapter, and below it its examples; then the reference and
    /// the pages.
    pub fn summary(&self, root: &Path, pages: &[(String, String)]) -> anyhow::Result<String> {
        let title = |text: &str| {
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("# ").to_owned()
        };
        let mut summary = String::from("# Summary\n\n");
        for (name, text) in &self.chapters {
            summary += &format!("- [{}]({name})\n", title(text));
            for example in self.examples.keys().filter(|one| one[1..3] == *section(name)) {
                summary += &format!("  - [{example}](examples/{example}.md)\n");
            }
        }
        summary += "- [The reference: src/lib.rs](src/lib.md)\n";
        let modules = self.files.iter().filter(|file| file.starts_with("src/"));
        for file in modules.filter(|file| *file != "src/lib.rs") {
            summary += &format!("  - [{file}]({})\n", file.replace(".rs", ".md"));
        }
        for (file, place) in pages {
            let text = fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
            let indent = if place.starts_with("teachers-") { "  " } else { "" };
            summary += &format!("{indent}- [{}]({place})\n", title(&text));
        }
        Ok(summary)
    }
}

/// `05` of `05-close.md`.
fn section(chapter: &str) -> &str {
    chapter.get(..2).unwrap_or_default()
}

/// The rows of the ledger, or of the errata, that are of that section.
fn of_section(page: &str, section: &str, nothing: &str) -> String {
    let number = section.trim_start_matches('0');
    // Its place is in the second cell, or in the first where a row has no id.
    let belongs = |cell: &str| {
        let mut parts = cell.split([',', '/']).map(|part| part.trim().split('.').next());
        parts.any(|part| part == Some(number))
    };
    let is_place = |cell: &&&str| cell.starts_with(|c: char| c.is_ascii_digit());
    let found =
        rows(page, |cells| cells.iter().take(2).find(is_place).is_some_and(|cell| belongs(cell)));
    if found.is_empty() { nothing.to_owned() } else { found }
}

/// The rows of all tables in `page` that are wanted, by their cells, with the heads of their tables.
pub fn rows(page: &str, wanted: impl Fn(&[&str]) -> bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut head: Vec<&str> = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if !line.starts_with('|') {
            head.clear();
        } else if head.len() < 2 {
            head.push(line);
        } else if wanted(&cells) {
            if head.len() == 2 {
                kept.extend(if kept.is_empty() { None } else { Some("") });
                kept.extend(&head);
                head.push("done");
            }
            kept.push(line);
        }
    }
    kept.join("\n")
}
