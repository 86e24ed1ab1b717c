//! A source file as a page of the book: prose on the left, the lines that it stands above on the
//! right.

use std::fmt::Write;

use crate::pieces::{Piece, pieces};

/// The page of a file, in Markdown with blocks of HTML. `path` is the file's, from the project's
/// root; `note` stands between its header and its code.
pub fn page(path: &str, source: &str, note: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    let mut page = format!("# {name}\n\n<p class=\"path\">{path}</p>\n\n");
    for (place, piece) in pieces(source).iter().enumerate() {
        let Piece { prose, prose_lines, code_lines } = piece;
        // The header stands alone, above both columns.
        let class = if place == 0 { "piece header" } else { "piece" };
        let wrong = if prose.starts_with("WRONG:") { " wrong" } else { "" };
        let _ = write!(page, "<div class=\"{class}{wrong}\">\n<div class=\"prose\"");
        page.push_str(&attribute(path, prose_lines.clone()));
        let prose = if place == 0 { claims_apart(prose) } else { prose.clone() };
        let _ = write!(page, ">\n\n{}\n\n</div>\n", demoted(&prose));
        if !code_lines.is_empty() {
            let code = lines[code_lines.clone()].join("\n");
            let shown = code.trim_start_matches('\n');
            let first = code_lines.start + 1 + code.len() - shown.len();
            let shown = escaped(shown.trim_end_matches('\n'));
            let _ = write!(page, "\n<pre{}", attribute(path, code_lines.clone()));
            let _ = write!(page, " data-first=\"{first}\">");
            let _ = writeln!(page, "<code class=\"language-rust\">{shown}</code></pre>");
        }
        page.push_str("</div>\n\n");
        page.push_str(if place == 0 { note } else { "" });
    }
    page
}

/// Which lines of which file stand here, counted from 1: `make docs` proves by it that each line of
/// the sources stands in the book once.
fn attribute(path: &str, lines: std::ops::Range<usize>) -> String {
    match lines.is_empty() {
        true => String::new(),
        false => format!(" data-file=\"{path}\" data-lines=\"{}-{}\"", lines.start + 1, lines.end),
    }
}

/// In an example's header each claim is a paragraph, and its name leads to the verdict.
fn claims_apart(prose: &str) -> String {
    let apart = |line: &str| match line.split_once(':') {
        Some((claim, words)) if claim.starts_with("Claim ") => {
            format!("\n[{claim}](#verdicts):{words}")
        }
        _ => line.to_owned(),
    };
    prose.lines().map(apart).collect::<Vec<String>>().join("\n")
}

/// Headings in a comment are below the page's own.
fn demoted(prose: &str) -> String {
    let heading = |line: &str| if line.starts_with('#') { format!("#{line}") } else { line.into() };
    prose.lines().map(heading).collect::<Vec<String>>().join("\n")
}

/// Text inside HTML. An empty line would end the block of HTML in Markdown: `<pre>` is the one
/// element in which it does not.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
