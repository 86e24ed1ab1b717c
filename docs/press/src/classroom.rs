//! What the classroom says, for `docs/po/classroom.ko.po`: the grader's sentences, the comments of
//! the exercises, and the texts of `info.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use polib::catalog::Catalog;
use polib::po_file;
use proc_macro2::{TokenStream, TokenTree};

use crate::{korean, prove};

#[path = "../../../classroom/grader/src/paragraphs.rs"]
#[allow(dead_code, reason = "where a paragraph stands, the grader asks")]
mod paragraphs;

/// The catalogue of the classroom.
pub struct Classroom {
    root: PathBuf,
    file: PathBuf,
    catalog: Catalog,
}

impl Classroom {
    /// Reads `docs/po/classroom.ko.po`.
    ///
    /// # Errors
    /// A file that is missing, or is not what it has to be.
    pub fn read(root: &Path) -> anyhow::Result<Classroom> {
        let file = root.join("docs/po/classroom.ko.po");
        let catalog = po_file::parse(&file).map_err(|e| anyhow!("{}: {e}", file.display()))?;
        Ok(Classroom { root: root.into(), file, catalog })
    }

    /// What is wanting, as in the book; a placeholder has to stand in both.
    ///
    /// # Errors
    /// As `strings`.
    pub fn faults(&self) -> anyhow::Result<Vec<String>> {
        Ok(korean::faults(&self.catalog, &strings(&self.root)?, |id, text| {
            places(id) == places(text)
        }))
    }

    /// Writes `docs/po/classroom.ko.po` anew.
    ///
    /// # Errors
    /// As `strings`; what the file system says.
    pub fn merge(self) -> anyhow::Result<()> {
        korean::merge(self.catalog, &strings(&self.root)?, &self.file)
    }
}

/// Every string, with the first file that has it.
fn strings(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let classroom = root.join("classroom");
    let mut strings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut add = |file: &Path, found: Vec<String>| {
        let place = file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned();
        let new = found.into_iter().filter(|id| seen.insert(id.clone()));
        strings.extend(new.map(|id| (id, place.clone())).collect::<Vec<_>>());
    };
    let read = |file: &Path| fs::read_to_string(file).with_context(|| file.display().to_string());
    let info = classroom.join("info.toml");
    let text = read(&info)?;
    if prove::has_hangul(&text) {
        bail!("the classroom is in Korean: make exercise EX=send_all LANGUAGE=en puts it back");
    }
    add(&info, text.split("\"\"\"").skip(1).step_by(2).map(String::from).collect());
    for file in files(&classroom.join("exercises"))? {
        let comments = paragraphs::paragraphs(&read(&file)?);
        add(&file, comments.into_iter().map(|paragraph| paragraph.text).collect());
    }
    for file in files(&classroom.join("grader/src"))? {
        let tokens: TokenStream =
            read(&file)?.parse().map_err(|e| anyhow!("{}: {e}", file.display()))?;
        let mut found = Vec::new();
        said(tokens, "", &mut found).with_context(|| file.display().to_string())?;
        add(&file, found);
    }
    Ok(strings)
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    prove::pages(dir, "rs")
}

/// The sentences of a source file: what `say!` is given, and each literal that is prose. Attributes,
/// tests, and what only a fault of the grader itself shows are none.
fn said(tokens: TokenStream, within: &str, found: &mut Vec<String>) -> anyhow::Result<()> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let name = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(ToString::to_string);
    for (at, token) in tokens.iter().enumerate() {
        let before = |n| name(at.checked_sub(n)).unwrap_or_default();
        match token {
            TokenTree::Group(group) => {
                let inner = before(2) == "#" && before(1) == "!";
                let is_aside = before(1) == "#" || inner || before(1) == "tests";
                if !is_aside && !["expect", "panic"].contains(&&*before(1)) {
                    let makro = if before(1) == "!" { before(2) } else { within.to_owned() };
                    said(group.stream(), &makro, found)?;
                }
            }
            TokenTree::Literal(literal) => {
                let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) else {
                    continue;
                };
                let text = text.value();
                if within == "say" && at == 0 {
                    found.push(text);
                } else if is_prose(&text) {
                    let has_places = !places(&text).is_empty();
                    if has_places && !["", "vec", "matches", "say"].contains(&within) {
                        bail!("{text:?} stands in {within}!, and is for say!");
                    }
                    found.push(text);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether it is more than a word, an ordinary one is in it, and it is no command.
fn is_prose(text: &str) -> bool {
    let parts = text.split('{').enumerate();
    let bare =
        parts.map(|(n, part)| if n > 0 { part.split_once('}').map_or("", |p| p.1) } else { part });
    let is_word = |word: &str| {
        let word = word.trim_end_matches([',', '.', ':', ';']);
        word.len() > 2 && word != "errno" && word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    !text.starts_with("make ")
        && text.contains(' ')
        && bare.flat_map(str::split_whitespace).any(is_word)
}

/// The placeholders: by name, and those without one by number; each as often as it stands there.
fn places(text: &str) -> BTreeMap<String, usize> {
    let (mut all, mut unnamed) = (BTreeMap::new(), 0);
    for place in text.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
        let mut name = place.0.split(':').next().unwrap_or_default().to_owned();
        if name.is_empty() {
            name = unnamed.to_string();
            unnamed += 1;
        }
        *all.entry(name).or_default() += 1;
    }
    all
}
