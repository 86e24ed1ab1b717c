//! Whether each line of the sources stands in the built book exactly once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

/// Reads every page below `book`, and compares the lines that they say they show with the files.
/// Gives the number of files and of lines.
pub fn prove(root: &Path, book: &Path, files: &[String]) -> anyhow::Result<(usize, usize)> {
    let mut shown: BTreeMap<(String, usize), usize> = BTreeMap::new();
    for page in pages(book)? {
        // The page that mdBook makes for printing has every chapter once more.
        if page.ends_with("print.html") {
            continue;
        }
        let text = fs::read_to_string(&page).with_context(|| page.clone())?;
        for part in text.split("data-file=\"").skip(1) {
            let (file, rest) = part.split_once('"').context("an attribute without an end")?;
            let lines = rest.trim_start().strip_prefix("data-lines=\"").context("no lines")?;
            let (range, _) = lines.split_once('"').context("an attribute without an end")?;
            let (from, to) = range.split_once('-').context("no range")?;
            for line in from.parse()?..=to.parse::<usize>()? {
                *shown.entry((file.to_owned(), line)).or_default() += 1;
            }
        }
    }
    let mut count = 0;
    for file in files {
        let lines = fs::read_to_string(root.join(file))?.lines().count();
        for line in 1..=lines {
            let times = shown.remove(&(file.clone(), line)).unwrap_or(0);
            ensure!(times == 1, "{file}:{line} stands in the book {times} times, not once");
        }
        count += lines;
    }
    if let Some(((file, line), _)) = shown.first_key_value() {
        anyhow::bail!("the book has {file}:{line}, and there is no such line");
    }
    Ok((files.len(), count))
}

fn pages(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            pages.extend(self::pages(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            pages.push(path.display().to_string());
        }
    }
    Ok(pages)
}
