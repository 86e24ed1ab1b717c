//! A part of a file on a page: `{{body FILE FUNCTION}}`, a line of its own, becomes the lines of that
//! function, without its head and its last brace.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::page::escaped;

/// The page, with the parts that it asks for.
///
/// # Errors
/// A file or a function that is not there.
pub fn filled(root: &Path, page: &str) -> anyhow::Result<String> {
    let mut filled = String::new();
    for line in page.split_inclusive('\n') {
        let asked =
            line.trim_end().strip_prefix("{{body ").and_then(|rest| rest.strip_suffix("}}"));
        let Some((file, name)) = asked.and_then(|asked| asked.split_once(' ')) else {
            filled += line;
            continue;
        };
        let source = fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
        let body = body(&source, name).with_context(|| format!("{file} has no function {name}"))?;
        ensure!(!body.is_empty(), "{name} in {file} is empty");
        let code = escaped(&body);
        filled += &format!("<pre><code class=\"language-rust\">{code}</code></pre>\n");
    }
    Ok(filled)
}

/// The lines of a function that stands at the margin, moved there themselves.
fn body(source: &str, name: &str) -> Option<String> {
    let is_head = |line: &str| !line.starts_with(' ') && line.contains(&format!("fn {name}("));
    let mut lines = source.lines().skip_while(|line| !is_head(line));
    let opened = lines.find(|line| line.ends_with('{'))?;
    let lines = lines.take_while(|line| *line != "}");
    let moved: Vec<&str> = lines.map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    (!opened.starts_with("    ")).then(|| moved.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_stands_in_the_function() {
        let source = "fn a() {}\n\npub async fn b(\n    x: u8,\n) -> u8 {\n    if x {\n        1\n    }\n\n    \
                      2\n}\n\nfn c() {\n    3\n}\n";
        assert_eq!(body(source, "b").unwrap(), "if x {\n    1\n}\n\n2");
        assert_eq!(body(source, "c").unwrap(), "3");
        assert_eq!(body(source, "d"), None);
    }
}
