//! Below an example's page: what the kernel said to its claims, and what the lab saw.

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
    /// Why an example has none.
    without: BTreeMap<String, String>,
}

impl Runs {
    pub fn read(root: &Path) -> anyhow::Result<Runs> {
        let ledger = fs::read_to_string(root.join("docs/claims.md")).context("docs/claims.md")?;
        let mut traces = BTreeMap::new();
        let dir = root.join("docs/traces");
        for entry in fs::read_dir(&dir).context("docs/traces")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                let name = path.file_stem().context("a file has a name")?.to_string_lossy();
                traces.insert(name.into_owned(), fs::read_to_string(&path)?);
            }
        }
        let without = fs::read_to_string(dir.join("without.tsv")).context("without.tsv")?;
        let reasons = without.lines().filter_map(|line| line.split_once('\t'));
        let without = reasons.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
        Ok(Runs { ledger, traces, without })
    }

    /// The end of an example's page, in Markdown.
    pub fn of(&self, name: &str) -> String {
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
        text += &match (self.traces.get(name), self.without.get(name)) {
            (Some(trace), _) => format!(
                "<details class=\"run\"><summary>\n\nSystem calls, segments and TCP states\n\n\
                 </summary>\n\n<pre><code class=\"language-text\">{}</code></pre>\n\n</details>\n\n\
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
