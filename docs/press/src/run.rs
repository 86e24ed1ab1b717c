//! Below an example's page: what the kernel said to its claims, and what the lab saw. Each line of
//! the example is tied to the lines of its trace that it led to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::chapters::rows;
use crate::page::escaped;

/// The ledger, and the traces by example.
pub struct Runs {
    ledger: String,
    traces: BTreeMap<String, String>,
    /// Which lines of an example led to which of its trace, as `make traces` wrote them.
    led: BTreeMap<String, String>,
    /// Why an example has none.
    without: BTreeMap<String, String>,
}

impl Runs {
    pub fn read(root: &Path) -> anyhow::Result<Runs> {
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
        Ok(Runs { ledger, traces, led, without })
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
        let mut text = String::from("## What the kernel said {#verdicts}\n\n");
        let run = format!("`{name}`");
        let verdicts = rows(&self.ledger, |cells| cells.last() == Some(&run.as_str()));
        text += &match verdicts.is_empty() {
            true => "This example answers no claim of the ledger.\n\n".to_owned(),
            false => {
                format!("{verdicts}\n\nFrom [the ledger](../claims.md), as a run wrote it.\n\n")
            }
        };
        text += "## What the lab saw {#trace}\n\n";
        let led = self.led.get(name).map_or_else(String::new, |table| led(table, source));
        text += &match (self.traces.get(name), self.without.get(name)) {
            (Some(trace), _) => format!(
                "<details class=\"run\"><summary>\n\nSystem calls, segments and TCP states\n\n\
                 </summary>\n\n<pre data-led=\"{led}\"><code class=\"language-text\">{}</code></pre>\n\n\
                 </details>\n\n\
                 A recorded run, not one of now: `docs/traces/{name}.txt`, which `make test` compares \
                 with a run. [How to read it](../traces.md). `make trace EX={name}` shows a run of \
                 yours, step by step.\n",
                escaped(trace.trim_end())
            ),
            (None, Some(why)) => format!(
                "No trace is kept, for it differs from run to run: {why}. `make run EX={name}` shows \
                 what the example prints.\n"
            ),
            (None, None) => format!(
                "It has no peer, so nothing goes over a wire. `make run EX={name}` shows what it \
                 prints.\n"
            ),
        };
        text
    }
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
