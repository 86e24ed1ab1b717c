//! A source file in pieces: a comment, and the lines that it stands above.

use std::ops::Range;

/// A comment and the lines after it, up to the next comment. Either may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The comment as Markdown.
    pub prose: String,
    /// Its lines in the file, counted from 0.
    pub prose_lines: Range<usize>,
    /// The lines beside it.
    pub code_lines: Range<usize>,
}

/// Cuts a file into pieces. Each of its lines is in exactly one of them. The first piece is the
/// file's header (`//!`), without code.
pub fn pieces(source: &str) -> Vec<Piece> {
    let lines: Vec<&str> = source.lines().collect();
    let header = lines.iter().take_while(|line| line.starts_with("//!")).count();
    let mut pieces = vec![Piece {
        prose: prose(&lines[..header]),
        prose_lines: 0..header,
        code_lines: header..header,
    }];
    let mut at = header;
    while at < lines.len() {
        let comment = lines[at..].iter().take_while(|line| is_comment(line)).count();
        let code = at + comment;
        let end = lines[code..].iter().take_while(|line| !is_comment(line)).count() + code;
        pieces.push(Piece {
            prose: prose(&lines[at..code]),
            prose_lines: at..code,
            code_lines: code..end,
        });
        at = end;
    }
    pieces
}

/// Whether a line is a comment and nothing else.
fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The text of comment lines, as Markdown. What only the documentation tool understands, a link to
/// a name, becomes the name.
fn prose(lines: &[&str]) -> String {
    let text: Vec<&str> = lines.iter().map(|line| without_slashes(line)).collect();
    let mut text = text.join("\n");
    // [`name`](path) and [`name`]
    while let Some(from) = text.find("[`") {
        let Some(to) = text[from..].find("`]").map(|to| from + to) else { break };
        let mut end = to + 2;
        if text[end..].starts_with('(') {
            end += text[end..].find(')').map_or(0, |close| close + 1);
        }
        let name = text[from + 1..=to].to_owned();
        text.replace_range(from..end, &name);
    }
    text
}

fn without_slashes(line: &str) -> &str {
    let line = line.trim_start();
    let text = ["//!", "///", "//"].iter().find_map(|slashes| line.strip_prefix(slashes));
    let text = text.unwrap_or(line);
    text.strip_prefix(' ').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_in_one_piece() {
        let source = "//! Header.\n//!\n//! More.\n\nuse a;\n\n/// Doc [`x::y`](z) and [`w`].\n\
                      fn f() {\n    // Why.\n    // Still why.\n    a();\n\n    b();\n}\n";
        let pieces = pieces(source);
        let mut covered = Vec::new();
        for piece in &pieces {
            covered.extend(piece.prose_lines.clone());
            covered.extend(piece.code_lines.clone());
        }
        assert_eq!(covered, (0..source.lines().count()).collect::<Vec<_>>());
        let prose: Vec<&str> = pieces.iter().map(|piece| piece.prose.as_str()).collect();
        let expected = ["Header.\n\nMore.", "", "Doc `x::y` and `w`.", "Why.\nStill why."];
        assert_eq!(prose, expected);
    }
}
