//! Whether each line of the sources stands in the book exactly once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Reads every page below `book` with that extension (`md`: what mdBook reads; `html`: what it
/// made), and compares what they show with the files. Code has to be the file's, letter by letter;
/// so have comments in Markdown, where they are not translated. In HTML they are only counted, for
/// they may be translated. Gives the number of files and of lines.
///
/// # Errors
/// The first line that is missing, there twice, or another.
pub fn prove(
    root: &Path,
    book: &Path,
    extension: &str,
    files: &[String],
) -> anyhow::Result<(usize, usize)> {
    let mut sources = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        sources.insert(file.as_str(), text.lines().map(str::to_owned).collect::<Vec<String>>());
    }
    let mut shown: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for page in pages(book, extension)? {
        // The page that mdBook makes for printing has every chapter once more.
        if page.ends_with("print.html") {
            continue;
        }
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        for part in text.split(" data-file=\"").skip(1) {
            let (file, from, to, body) = shown_by(part).context("a piece without its lines")?;
            let Some((file, lines)) = sources.get_key_value(file) else {
                bail!("the book has {file}, and there is no such file");
            };
            let Some(lines) = lines.get(from - 1..to) else {
                bail!("the book has {file}:{from}-{to}, and there are no such lines");
            };
            for line in from..=to {
                *shown.entry((file, line)).or_default() += 1;
            }
            let is_code = body.contains("<code class=\"language-rust");
            let same = match (is_code, extension) {
                (true, _) => code(body) == lines.join("\n").trim_matches('\n'),
                (false, "md") if !has_hangul(body) => {
                    words(body.split("\n\n</div>").next().unwrap_or(body))
                        == words(&lines.join("\n"))
                }
                _ => true,
            };
            ensure!(same, "{file}:{from}-{to} reads otherwise in the book");
        }
    }
    let mut count = 0;
    for (file, lines) in &sources {
        for line in 1..=lines.len() {
            let times = shown.get(&(*file, line)).copied().unwrap_or(0);
            ensure!(times == 1, "{file}:{line} stands in the book {times} times, not once");
        }
        count += lines.len();
    }
    Ok((files.len(), count))
}

/// Whether there is Korean in it.
pub fn has_hangul(text: &str) -> bool {
    text.contains(|c: char| ('가'..='힣').contains(&c))
}

/// The file, the first and the last line, and what is shown of them.
fn shown_by(part: &str) -> Option<(&str, usize, usize, &str)> {
    let (file, rest) = part.split_once('"')?;
    let (range, rest) = rest.trim_start().strip_prefix("data-lines=\"")?.split_once('"')?;
    let (from, to) = range.split_once('-')?;
    let (_, body) = rest.split_once('>')?;
    let body = if body.starts_with("<code") { body.split("</pre>").next()? } else { body };
    Some((file, from.parse().ok().filter(|from| *from > 0)?, to.parse().ok()?, body))
}

/// The text of HTML, without empty lines at its ends.
fn code(html: &str) -> String {
    let mut text = String::new();
    for (at, part) in html.split('<').enumerate() {
        text += if at == 0 { part } else { part.split_once('>').map_or("", |(_, text)| text) };
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
        .trim_matches('\n')
        .into()
}

/// Letters and digits only, without where links lead to and what headings are called by.
fn words(text: &str) -> String {
    let mut words = without(&without(text, "](", ')'), "{#", '}');
    words.retain(char::is_alphanumeric);
    words
}

/// The text without what stands from `open` to `close`.
fn without(text: &str, open: &str, close: char) -> String {
    let mut parts = text.split(open);
    let mut rest = parts.next().unwrap_or("").to_owned();
    for part in parts {
        rest += part.split_once(close).map_or("", |(_, rest)| rest);
    }
    rest
}

/// The files below `dir` with that extension.
pub fn pages(dir: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            pages.extend(self::pages(&path, extension)?);
        } else if path.extension().is_some_and(|its| its == extension) {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}
