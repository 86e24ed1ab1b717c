//! Names become links, and each link leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, ensure};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::example;

/// Pages that stand in the book as they are: the file, and its place in the book.
const PAGES: [(&str, &str); 13] = [
    ("docs/claims.md", "claims.md"),
    ("docs/errata.md", "errata.md"),
    ("docs/faults.md", "faults.md"),
    ("docs/cpp-to-rust.md", "cpp-to-rust.md"),
    ("servers/README.md", "servers.md"),
    ("docs/faults-servers.md", "faults-servers.md"),
    ("docs/conformance.md", "conformance.md"),
    ("speed/README.md", "speed-steps.md"),
    ("docs/speed.md", "speed.md"),
    ("docs/which-crate.md", "which-crate.md"),
    ("classroom/README.md", "classroom.md"),
    ("docs/lab.md", "lab.md"),
    ("docs/traces/README.md", "traces.md"),
];

/// Where the project's files stand in the book.
pub struct Places {
    /// Whole pages, in the order of the table of contents.
    pub pages: Vec<(String, String)>,
    /// The place of each file.
    files: BTreeMap<String, String>,
    /// The place of what stands in backticks: an example's name, a file of `src`.
    names: BTreeMap<String, String>,
}

impl Places {
    pub fn new(root: &Path, sources: &[String]) -> anyhow::Result<Places> {
        let mut pages = PAGES.map(|(file, place)| (file.to_owned(), place.to_owned())).to_vec();
        let of_teachers = teachers(root)?;
        let behind = pages.iter().position(|(_, place)| place == "classroom.md").unwrap_or(0) + 1;
        pages.splice(behind..behind, of_teachers);
        let mut files: BTreeMap<String, String> = pages.iter().cloned().collect();
        let mut names = BTreeMap::new();
        for file in sources {
            let place = file.replace(".rs", ".md");
            if let Some(name) = example(file) {
                files.insert(format!("docs/traces/{name}.txt"), format!("{place}#trace"));
                names.insert(name.to_owned(), place.clone());
            } else {
                names.insert(file.clone(), place.clone());
            }
            files.insert(file.clone(), place);
        }
        for picture in pictures(&root.join("docs"))? {
            files.insert(format!("docs/{picture}"), picture);
        }
        for entry in fs::read_dir(root.join("docs/chapters")).context("docs/chapters")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            files.insert(format!("docs/chapters/{name}"), name);
        }
        Ok(Places { pages, files, names })
    }

    /// A page from elsewhere: its links are those of its new place. What is not in the book is named
    /// and not linked.
    pub fn moved(&self, text: &str, file: &str) -> String {
        let dir = Path::new(file).parent().unwrap_or(Path::new(""));
        let mut moved = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap_or((after, ""));
            let path = normal(&dir.join(target));
            let start = before.rfind('[').unwrap_or(0);
            if target.contains("://") || target.starts_with('#') {
                moved += &format!("{before}]({target})");
            } else if let Some(place) = self.files.get(&path) {
                moved += &format!("{before}]({place})");
            } else {
                let (lead, name) = (&before[..start], before[start..].trim_start_matches('['));
                let said = if path.ends_with(name) { "" } else { name };
                moved +=
                    &format!("{lead}{said}{}`{path}`", if said.is_empty() { "" } else { ", " });
            }
            rest = after;
        }
        moved + rest
    }

    /// `s05_half_close` and `src/stream.rs` in backticks become links, on a page at `place`.
    pub fn linked(&self, text: &str, place: &str) -> String {
        let up = "../".repeat(place.matches('/').count());
        let mut linked = String::new();
        let (mut fenced, mut pre) = (false, false);
        for line in text.split_inclusive('\n') {
            fenced ^= line.starts_with("```");
            pre |= line.starts_with("<pre");
            if fenced || pre || line.starts_with('#') {
                linked += line;
                pre &= !line.contains("</pre>");
                continue;
            }
            let parts: Vec<&str> = line.split('`').collect();
            for (at, part) in parts.iter().enumerate() {
                let code = at % 2 == 1 && at + 1 < parts.len();
                let own = |target: &&String| target.as_str() != place;
                let in_link = at > 0 && parts[at - 1].ends_with('[');
                match self.names.get(*part).filter(own) {
                    Some(target) if code && !in_link => {
                        linked += &format!("[`{part}`]({up}{target})");
                    }
                    _ if code => linked += &format!("`{part}`"),
                    _ if at % 2 == 1 => linked += &format!("`{part}"),
                    _ => linked += part,
                }
            }
        }
        linked
    }
}

/// The pages for teachers of the classroom, the plan of the lessons first.
fn teachers(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root.join("classroom/docs")).context("classroom/docs")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let place = match &*name {
            "README.md" => "teachers.md".to_owned(),
            name => format!("teachers-{name}"),
        };
        all.push((format!("classroom/docs/{name}"), place));
    }
    all.sort_by_key(|(file, _)| (!file.ends_with("README.md"), file.clone()));
    Ok(all)
}

/// The names of the pictures in a directory, which stand in the book beside its pages.
pub fn pictures(dir: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<anyhow::Result<Vec<String>>>()?;
    Ok(names.into_iter().filter(|name| name.ends_with(".svg")).collect())
}

/// `a/../b` is `b`.
fn normal(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    parts.join("/")
}

/// Whether every link and anchor of the pages below `book` leads to a page and a heading there.
/// Gives how many there are.
///
/// # Errors
/// The first that does not, with its page.
pub fn check(book: &Path) -> anyhow::Result<usize> {
    let mut anchors: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    let mut links: Vec<(PathBuf, String)> = Vec::new();
    for page in crate::prove::pages(book, "md")? {
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        let page = page.strip_prefix(book)?.to_owned();
        let ids = anchors.entry(page.clone()).or_default();
        let mut heading: Option<(Option<String>, String)> = None;
        for event in
            Parser::new_ext(&text, Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES)
        {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    links.push((page.clone(), dest_url.into_string()));
                }
                Event::Start(Tag::Heading { id, .. }) => {
                    heading = Some((id.map(|id| id.into_string()), String::new()));
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, title)) = &mut heading {
                        title.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let (id, title) = heading.take().context("a heading that did not begin")?;
                    ids.insert(id.unwrap_or_else(|| anchor(&title)));
                }
                _ => {}
            }
        }
    }
    for (page, link) in links.iter().filter(|(_, link)| !link.contains("://")) {
        let (path, id) = link.split_once('#').unwrap_or((link, ""));
        let target = match path {
            "" => page.clone(),
            path => PathBuf::from(normal(&page.with_file_name(path))),
        };
        if path.ends_with(".svg") {
            ensure!(book.join(&target).is_file(), "{}: no picture {link}", page.display());
            continue;
        }
        let ids = anchors.get(&target);
        ensure!(ids.is_some(), "{}: no page for the link to {link}", page.display());
        let there = id.is_empty() || ids.is_some_and(|ids| ids.contains(id));
        ensure!(there, "{}: no heading for the link to {link}", page.display());
    }
    Ok(links.len())
}

/// The id that mdBook gives a heading.
pub fn anchor(title: &str) -> String {
    let kept = title.chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let to = |list: &[(&str, &str)]| {
            list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        Places {
            pages: Vec::new(),
            files: to(&[("docs/errata.md", "errata.md"), ("src/sys.rs", "src/sys.md")]),
            names: to(&[("s05_x", "examples/s05_x.md"), ("src/sys.rs", "src/sys.md")]),
        }
    }

    #[test]
    fn a_link_is_that_of_the_new_place_or_none() {
        let text = "[a](../docs/errata.md), [b](../src/sys.rs), [c](bin/r.rs), [d](https://x.y)";
        let expected = "[a](errata.md), [b](src/sys.md), c, `servers/bin/r.rs`, [d](https://x.y)";
        assert_eq!(places().moved(text, "servers/README.md"), expected);
    }

    #[test]
    fn a_name_in_backticks_becomes_a_link_outside_of_code() {
        let text = "`s05_x`, [`s05_x`](y), `s05_z`\n```\n`s05_x`\n```\n<pre>`s05_x`\n</pre>\n`a\n";
        let expected = text.replacen("`s05_x`", "[`s05_x`](../examples/s05_x.md)", 1);
        assert_eq!(places().linked(text, "src/a.md"), expected);
    }

    #[test]
    fn an_anchor_is_what_mdbook_makes_of_a_heading() {
        assert_eq!(anchor("2 `send_all` and what, then?"), "2-send_all-and-what-then");
    }
}
