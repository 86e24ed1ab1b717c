//! The comments of a source file, paragraph by paragraph. The press reads them with this, too.

/// Lines of comment that belong together.
pub struct Paragraph {
    /// The first line, from 0.
    pub from: usize,
    /// The first line after it.
    pub to: usize,
    /// What stands before each line: `//! `, or `    // `.
    pub mark: String,
    /// Its lines without that.
    pub text: String,
}

/// In their order. An empty line ends a paragraph, and a line with `- ` begins one.
pub fn paragraphs(source: &str) -> Vec<Paragraph> {
    let mut all: Vec<Paragraph> = Vec::new();
    for (at, line) in source.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let marks = ["//! ", "/// ", "// "];
        let found = marks.iter().find(|mark| line[indent..].starts_with(**mark));
        let Some(mark) = found.map(|mark| &line[..indent + mark.len()]) else { continue };
        let text = &line[mark.len()..];
        match all.last_mut() {
            Some(last) if last.to == at && last.mark == mark && !text.starts_with("- ") => {
                last.to += 1;
                last.text += "\n";
                last.text += text;
            }
            _ => all.push(Paragraph { from: at, to: at + 1, mark: mark.into(), text: text.into() }),
        }
    }
    all
}
