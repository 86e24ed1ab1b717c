//! Below an example's page: what the kernel said to its claims, and what the lab saw. Each line of
//! the example is tied to the lines of its trace that it led to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::chapters::{STAR, rows};
use crate::page::escaped;

/// The ledger, and the traces by example.
pub struct Runs {
    ledger: String,
    traces: BTreeMap<String, String>,
    /// Which lines of an example led to which of its trace, as `make traces` wrote them.
    led: BTreeMap<String, String>,
    /// Why an example has none.
    without: BTreeMap<String, String>,
    /// What examples printed, where they were run for this book.
    outputs: BTreeMap<String, String>,
}

impl Runs {
    /// Reads `docs`, and of the directory `outputs` a file an example, `NAME.txt`.
    pub fn read(root: &Path, outputs: Option<&Path>) -> anyhow::Result<Runs> {
        let ledger = fs::read_to_string(root.join("docs/claims.md")).context("docs/claims.md")?;
        let (mut traces, mut led) = (BTreeMap::new(), BTreeMap::new());
        let dir = root.join("docs/traces");
        for entry in fs::read_dir(&dir).context("docs/traces")? {
            let path = entry?.path();
            let files = match path.extension().and_then(|extension| extension.to_str()) {
                Some("txt") => &mut traces,
                Some("lines") => &mut led,
                _ => continue,
            };
            let name = path.file_stem().context("a file has a name")?.to_string_lossy();
            files.insert(name.into_owned(), fs::read_to_string(&path)?);
        }
        let without = fs::read_to_string(dir.join("without.tsv")).context("without.tsv")?;
        let reasons = without.lines().filter_map(|line| line.split_once('\t'));
        let without = reasons.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
        let outputs = outputs.map_or_else(|| Ok(BTreeMap::new()), texts)?;
        Ok(Runs { ledger, traces, led, without, outputs })
    }

    /// What stands above the code of an example whose lines are tied to its trace.
    pub fn note(&self, name: &str) -> &'static str {
        match self.led.contains_key(name) {
            true => {
                "<div class=\"stepping\">\n\nChoose a line that has a dot: what it led to is marked in \
                 the recorded run, which opens below. Choose a row there, and the lines that led to it \
                 are marked. The arrow keys up and down go on, and Esc ends it.\n\n</div>\n\n"
            }
            false => "",
        }
    }

    /// The end of the page of an example, of which this is the source, in Markdown.
    pub fn of(&self, name: &str, source: &str) -> String {
        let printed =
            self.outputs.get(name).map_or("not run where this book was made", |text| text);
        let mut text = format!(
            "## What it printed {{#output}}\n\n\
             <pre><code class=\"language-text\">{}</code></pre>\n\n\
             As it ran where this book was made. `make run EX={name}` runs it on your machine.\n\n\
             ## What the kernel said {{#verdicts}}\n\n",
            escaped(printed.trim_end())
        );
        let run = format!("`{name}`");
        let verdicts = rows(&self.ledger, |cells| cells.last() == Some(&run.as_str()));
        text += &match verdicts.is_empty() {
            true => "No claim of the article is checked by this example.\n\n".to_owned(),
            false => {
                let star = match verdicts.contains(STAR) {
                    true => {
                        " A verdict with a star is about the wire, too: the ledger has what the lab \
                             saw of it."
                    }
                    false => "",
                };
                format!(
                    "{verdicts}\n\nFrom [the ledger](../claims.md), as a run wrote it.{star}\n\n"
                )
            }
        };
        text += "## What the lab saw {#trace}\n\n";
        let led = self.led.get(name).map_or_else(String::new, |table| led(table, source));
        text += &match (self.traces.get(name), self.without.get(name)) {
            (Some(trace), _) => format!(
                "<details class=\"run\"><summary>\n\nSystem calls, segments and TCP states\n\n\
                 </summary>\n\n<pre data-led=\"{led}\"><code class=\"language-text\">{}</code></pre>\n\n\
                 </details>\n\n\
                 A recorded run of two hosts, on a link with an MSS of 1460: what is above was printed \
                 by another, on the loopback. It is `docs/traces/{name}.txt`, which `make test` \
                 compares with a new one. What is chance is left out. Reads in a row are one line with \
                 all their bytes: how many there were is in what was printed, where it matters. A call \
                 may stand above what it waited for, where the wait does not show. [How to read \
                 it](../traces.md). `make trace EX={name}` shows a run of yours, step by step.\n",
                escaped(trace.trim_end())
            ),
            (None, Some(why)) => {
                format!("No trace is kept: {why}.\n")
            }
            (None, None) => {
                "It is not of two hosts, so nothing goes over the lab's link.\n".to_owned()
            }
        };
        text
    }
}

/// The text files of a directory, by name without `.txt`.
fn texts(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        texts.insert(name, String::from_utf8_lossy(&text).into_owned());
    }
    Ok(texts)
}

/// A row a line of the example: its number, and the lines of the trace, as `26:10-19 27:20,22`. The
/// table knows a line by how it reads. One that reads otherwise by now led to nothing known.
fn led(table: &str, source: &str) -> String {
    let tied = table.lines().filter_map(|row| {
        let (rows, line) = row.split_once('\t')?;
        let (place, text) = line.split_once('\t')?;
        let before = place.parse::<usize>().ok()?.checked_sub(1)?;
        let mut same = source.lines().enumerate().filter(|(_, line)| *line == text);
        let (number, _) = same.nth(before)?;
        Some(format!("{}:{rows}", number + 1))
    });
    tied.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_how_it_reads() {
        let table = "5-7\t1\t    a();\n8,10\t2\t    a();\n9\t1\t    b();\n";
        assert_eq!(led(table, "    a();\n    b();\n    a();\n"), "1:5-7 3:8,10 2:9");
        assert_eq!(led(table, "// Why.\n    a();\n    b();\n    a();\n"), "2:5-7 4:8,10 3:9");
        assert_eq!(led(table, "    a();\n    c();\n"), "1:5-7");
    }
}
