//! The chapters, and the lists in them: `{{examples}}`, `{{source src/stream.rs}}`, `{{claims}}`,
//! `{{errata}}`, each for the section of the article that the chapter's name begins with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// What the chapters and the summary are made from.
pub struct Book {
    /// Name of the file, and its text.
    chapters: BTreeMap<String, String>,
    /// Name of an example, and its title.
    examples: BTreeMap<String, String>,
    files: Vec<String>,
    claims: String,
    errata: String,
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
        })
    }

    /// The chapters with their lists.
    pub fn chapters(&self) -> anyhow::Result<Vec<(String, String)>> {
        let filled = self.chapters.iter().map(|(name, text)| {
            let lines = text.lines().map(|line| self.filled(section(name), line));
            let text = lines.collect::<anyhow::Result<Vec<String>>>()?.join("\n");
            Ok((name.clone(), text + "\n"))
        });
        filled.collect()
    }

    /// One line of a chapter; a list where it names one.
    fn filled(&self, section: &str, line: &str) -> anyhow::Result<String> {
        let Some(what) = line.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else {
            return Ok(line.to_owned());
        };
        match what.split_once(' ') {
            None if what == "examples" => Ok(self.examples(section)),
            None if what == "claims" => Ok(of_section(&self.claims, 1, section)),
            None if what == "errata" => Ok(of_section(&self.errata, 1, section)),
            Some(("source", file)) if self.files.iter().any(|known| known == file) => {
                Ok(format!("**Read** [{file}]({}).", file.replace(".rs", ".md")))
            }
            _ => anyhow::bail!("{line}: no such list"),
        }
    }

    fn examples(&self, section: &str) -> String {
        let mut table = String::from("| run | to see |\n| --- | --- |\n");
        for (name, title) in self.examples.iter().filter(|(name, _)| name[1..3] == *section) {
            table += &format!("| [`{name}`](examples/{name}.md) | {title} |\n");
        }
        table
    }

    /// mdBook's table of contents: each chapter, and below it its examples.
    pub fn summary(&self) -> String {
        let mut summary = String::from("# Summary\n\n");
        for (name, text) in &self.chapters {
            let title = text.lines().next().unwrap_or_default().trim_start_matches("# ");
            summary += &format!("- [{title}]({name})\n");
            for example in self.examples.keys().filter(|one| one[1..3] == *section(name)) {
                summary += &format!("  - [{example}](examples/{example}.md)\n");
            }
        }
        summary += "- [The reference](src/lib.md)\n";
        for file in
            self.files.iter().filter(|file| file.starts_with("src/") && *file != "src/lib.rs")
        {
            summary += &format!("  - [{file}]({})\n", file.replace(".rs", ".md"));
        }
        summary
    }
}

/// `05` of `05-close.md`.
fn section(chapter: &str) -> &str {
    chapter.get(..2).unwrap_or_default()
}

/// The rows of all tables in `page` whose cell `column` names that section or a part of it, with
/// the heads of their tables.
fn of_section(page: &str, column: usize, section: &str) -> String {
    let number = section.trim_start_matches('0');
    let belongs = |cell: &str| {
        let mut parts = cell.split([',', '/']).map(|part| part.trim().split('.').next());
        parts.any(|part| part == Some(number))
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut head: Vec<&str> = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if !line.starts_with('|') {
            head.clear();
        } else if head.len() < 2 {
            head.push(line);
        } else if cells.get(column).is_some_and(|cell| belongs(cell)) {
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
