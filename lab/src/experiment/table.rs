//! What was measured, as comma-separated values (RFC 4180).

use std::path::Path;

use anyhow::Context;

/// Columns with their units in the names, and rows of the same length.
pub struct Table {
    text: String,
}

impl Table {
    /// A table with these columns: "window_messages", "goodput_bit_per_s".
    pub fn new<const N: usize>(columns: [&str; N]) -> Table {
        Table { text: row(&columns.map(str::to_owned)) }
    }

    /// One row more.
    pub fn row(&mut self, cells: &[&dyn std::fmt::Display]) {
        self.text += &row(&cells.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    /// Writes it to a file.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, &self.text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn row(cells: &[String]) -> String {
    cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n"
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_and_quotes_are_quoted() {
        let mut table = Table::new(["what", "bytes"]);
        table.row(&[&"two sends, \"plain\"", &68]);
        assert_eq!(table.text, "what,bytes\n\"two sends, \"\"plain\"\"\",68\n");
    }
}
