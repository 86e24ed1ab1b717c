//! The map is what the imports are, in all four places that draw it; and nothing goes in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The Rust files below a directory, those in `target` aside, as paths from there.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root().join(dir)).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

// ---- the reference is one sitting ----

#[test]
fn the_reference_has_1200_lines_at_most() {
    let files = rust_files(Path::new("src"));
    let lines: usize = files.iter().map(|f| read(Path::new("src").join(f)).lines().count()).sum();
    assert!(lines <= 1200, "{lines} lines in src, and 1200 are the most: what teaches least goes");
}

// ---- the map ----

/// Who uses whom.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The block of a page that has arrows in it.
fn map_of(page: &str) -> String {
    let text = read(page).replace("//! ", "");
    let mut blocks = text.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let map = blocks.find(|block| block.contains("framing ──►"));
    map.unwrap_or_else(|| panic!("{page} has no map")).replace("//!", "")
}

#[test]
fn the_map_is_the_same_in_all_four_places() {
    let map = map_of("src/lib.rs");
    for page in ["README.md", "CONTRIBUTING.md", "docs/chapters/00-how-to-read.md"] {
        assert_eq!(map_of(page), map, "{page}");
    }
}

/// `a, b ──► c, d`, several of them in a line with spaces in between.
fn arrows_of(map: &str) -> Arrows {
    let mut arrows = Arrows::new();
    for entry in map.lines().flat_map(|line| line.split("   ")).filter(|entry| !entry.is_empty()) {
        let (from, to) = entry.split_once("──►").unwrap_or_else(|| panic!("no arrow: {entry:?}"));
        let to = to.split(',').map(str::trim).filter(|to| *to != "–");
        let to: BTreeSet<String> = to.map(str::to_owned).collect();
        for from in from.split(',').map(|from| from.trim().to_owned()) {
            let again = arrows.insert(from, to.clone());
            assert!(again.is_none(), "twice in the map: {entry:?}");
        }
    }
    arrows
}

#[test]
fn the_map_reads_as_it_looks() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected = [("a", set(&["b", "c"])), ("b", set(&["c"])), ("d", set(&[])), ("e", set(&[]))];
    let arrows = arrows_of("a ──► b, c    d, e ──► –\nb ──► c\n");
    assert_eq!(arrows, expected.map(|(name, to)| (name.to_owned(), to)).into());
}

#[test]
fn the_map_has_every_import_of_the_reference_and_no_other() {
    let mut arrows = arrows_of(&map_of("src/lib.rs"));
    arrows.retain(|from, _| reference().top_level().contains(from));
    assert_eq!(arrows, reference().arrows());
}

/// A room of the house, and what a dependency on it is called.
const ROOMS: [(&str, &str); 6] = [
    ("src", "tcp-stream-io"),
    ("stage", "stage"),
    ("servers", "servers"),
    ("speed", "speed"),
    ("lab", "lab"),
    ("classroom", "grader"),
];

#[test]
fn the_map_has_what_each_room_uses() {
    let mut arrows = arrows_of(&map_of("src/lib.rs"));
    arrows.retain(|from, _| !reference().top_level().contains(from));
    let mut used = Arrows::new();
    // By what stands in a package's manifest, for a room that is one …
    for (room, _) in &ROOMS[1..] {
        let manifests = ["Cargo.toml", "grader/Cargo.toml", "proof/Cargo.toml"];
        let manifests = manifests.iter().map(|file| Path::new(room).join(file));
        let manifests = manifests.filter(|file| root().join(file).exists()).map(read);
        let text: String = manifests.collect();
        let named = |(_, package): &&(&str, &str)| {
            text.lines().any(|line| line.starts_with(&format!("{package} = {{ path")))
        };
        let others = ROOMS.iter().filter(named).map(|(other, _)| (*other).to_owned());
        used.insert((*room).to_owned(), others.filter(|other| other != room).collect());
    }
    // … and by what the files import, where the package is that of `src`.
    for room in ["examples", "tests"] {
        let files = rust_files(Path::new(room)).into_iter().map(|f| read(Path::new(room).join(f)));
        let code: Vec<String> = files.map(|text| without_comments(&text)).collect();
        let named = |(_, package): &&(&str, &str)| {
            let import = format!("use {}::", package.replace('-', "_"));
            code.iter().flat_map(|code| code.lines()).any(|line| line.starts_with(&import))
        };
        let others = ROOMS.iter().filter(named).map(|(other, _)| (*other).to_owned());
        used.insert(room.to_owned(), others.collect());
    }
    assert_eq!(arrows, used);
}

// ---- no circle ----

#[test]
fn no_modules_go_in_a_circle() {
    let mut circles = Vec::new();
    for room in ["classroom/grader", "lab", "servers", "speed", "src", "stage"] {
        for (dir, modules) in crates_in(room) {
            circles.extend(modules.circles().map(|circle| format!("{dir}: {circle}")));
        }
    }
    assert_eq!(circles, [""; 0]);
}

#[test]
fn a_circle_is_found_and_a_parent_is_none() {
    let files = [
        ("lib.rs", "pub mod a;\npub mod b;\npub mod dir;\npub use a::A;\n"),
        ("a.rs", "use crate::{b::{self, B}, dir};\n"),
        (
            "b.rs",
            "fn f() { crate::dir::left::f() }\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n",
        ),
        ("dir/mod.rs", "mod left;\nmod right;\n// use crate::a;\nfn g() { right::h() }\n"),
        ("dir/left.rs", "use super::right::Right;\n"),
        ("dir/right.rs", "use super::G;\n"),
    ];
    let circles = |last: &[(&str, &str)]| {
        let files = files.iter().chain(last).map(|(file, text)| (Path::new(file), *text));
        Crate::of(files).circles().collect::<Vec<_>>()
    };
    assert_eq!(circles(&[]), [""; 0]);
    assert_eq!(circles(&[("dir/right.rs", "use super::left;\n")]), ["dir::left, dir::right"]);
    assert_eq!(circles(&[("dir/right.rs", "fn f() { super::super::a::f() }\n")]), ["a, b, dir"]);
    // By way of a name that the crate's own file passes on.
    assert_eq!(circles(&[("b.rs", "use crate::A;\n")]), ["a, b"]);
}

/// A module by its path inside the crate: `["link", "rules"]`.
type Module = Vec<String>;

/// The modules of a crate, each with its code. The crate's own file is the one without a name.
struct Crate(BTreeMap<Module, String>);

/// The crates below a directory, each with where it begins: where a `lib.rs` or a `main.rs` is. The
/// programs in a `bin` are left out, for each is one file.
fn crates_in(room: &str) -> Vec<(String, Crate)> {
    let files = rust_files(Path::new(room));
    let begins = |file: &&PathBuf| file.ends_with("lib.rs") || file.ends_with("main.rs");
    let dirs: BTreeSet<&Path> = files.iter().filter(begins).map(|f| f.parent().unwrap()).collect();
    let dir_of =
        |file: &Path| file.ancestors().skip(1).find(|dir| dirs.contains(dir)).map(Path::to_owned);
    let is_in_bin = |file: &Path| file.parent().is_some_and(|dir| dir.ends_with("bin"));
    let of_dir = |dir: &&Path| {
        let mine =
            files.iter().filter(|file| !is_in_bin(file) && dir_of(file).as_deref() == Some(dir));
        // A program beside a library is a crate of its own, and of one file.
        let mine =
            mine.filter(|file| !(file.ends_with("main.rs") && files.contains(&dir.join("lib.rs"))));
        let texts: Vec<String> =
            mine.clone().map(|file| read(Path::new(room).join(file))).collect();
        let names = mine.map(|file| file.strip_prefix(dir).unwrap());
        let modules = Crate::of(names.zip(texts.iter().map(String::as_str)));
        (Path::new(room).join(dir).display().to_string(), modules)
    };
    dirs.iter().map(of_dir).collect()
}

/// The reference's own.
fn reference() -> Crate {
    let mut crates = crates_in("src");
    assert_eq!(crates.len(), 1);
    crates.remove(0).1
}

impl Crate {
    fn of<'a>(files: impl Iterator<Item = (&'a Path, &'a str)>) -> Crate {
        let module = |file: &Path| {
            let names = file.with_extension("");
            let mut path: Module =
                names.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
            if ["lib", "main", "mod"].contains(&path.last().unwrap().as_str()) {
                path.pop();
            }
            path
        };
        Crate(files.map(|(file, text)| (module(file), without_comments(text))).collect())
    }

    /// Its modules that are in no other.
    fn top_level(&self) -> BTreeSet<String> {
        self.0.keys().filter_map(|module| module.first().cloned()).collect()
    }

    /// What the top-level modules import from each other.
    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (from, to) in self.uses() {
            if let (Some(from), Some(to)) = (from.first(), to.first())
                && from != to
            {
                arrows.entry(from.clone()).or_default().insert(to.clone());
            }
        }
        arrows
    }

    /// Which module uses which, by every path in the code that begins in the crate.
    fn uses(&self) -> BTreeSet<(Module, Module)> {
        let mut uses = BTreeSet::new();
        for (from, code) in &self.0 {
            for path in paths(code) {
                let (base, rest) = match path[0].as_str() {
                    "crate" => (vec![], &path[1..]),
                    "self" => (from.clone(), &path[1..]),
                    "super" => {
                        let up = path.iter().take_while(|name| *name == "super").count();
                        (from[..from.len().saturating_sub(up)].to_vec(), &path[up..])
                    }
                    // A child's name, where its parent's code uses it.
                    child if self.0.contains_key(&[from, &[child.to_owned()][..]].concat()) => {
                        (from.clone(), &path[..])
                    }
                    _ => continue,
                };
                uses.insert((from.clone(), self.resolve(base, rest)));
            }
        }
        uses
    }

    /// The module that has what a path ends in: the deepest one on it, or the one from which a name
    /// on it is passed on by `pub use`.
    fn resolve(&self, mut at: Module, path: &[String]) -> Module {
        for name in path {
            let child = [&at, &[name.clone()][..]].concat();
            if self.0.contains_key(&child) {
                at = child;
            } else if let Some(code) = self.0.get(&at) {
                let passed_on =
                    code.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
                let mut passed_on = passed_on.flat_map(tree);
                if let Some(path) = passed_on.find(|path| path.last() == Some(name)) {
                    let (_, inside) = path.split_last().unwrap();
                    let begin = usize::from(["self", "crate"].contains(&path[0].as_str()));
                    return self.resolve(at, &inside[begin..]);
                }
                break;
            }
        }
        at
    }

    /// Sets of modules of which each uses all others, if not itself then by way of others. A module
    /// counts with all that is in it. Between it and what is in it there is no circle: that is one
    /// house.
    fn circles(&self) -> impl Iterator<Item = String> {
        let mut reaches: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, to) in self.uses() {
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if common < from.len().min(to.len()) {
                let to = to[..=common].to_vec();
                reaches.entry(from[..=common].to_vec()).or_default().insert(to);
            }
        }
        loop {
            let before = reaches.clone();
            for to in reaches.values_mut() {
                let further = to.iter().filter_map(|module| before.get(module)).flatten().cloned();
                to.extend(further.collect::<Vec<_>>());
            }
            if before == reaches {
                break;
            }
        }
        let on_a_circle = reaches.iter().filter(|(module, to)| to.contains(*module));
        let circle = |(module, to): (&Module, &BTreeSet<Module>)| {
            let back =
                to.iter().filter(|other| reaches.get(*other).is_some_and(|to| to.contains(module)));
            back.map(|module| module.join("::")).collect::<Vec<_>>().join(", ")
        };
        on_a_circle.map(circle).collect::<BTreeSet<_>>().into_iter()
    }
}

/// Code without its comments. In a module inside a file, `super` is the file: so it becomes `self`.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut inside: Option<String> = None; // the line that ends such a module
    for line in text.lines() {
        let line = line.split("//").next().unwrap();
        let indent = &line[..line.len() - line.trim_start().len()];
        match &inside {
            Some(end) if line == end => inside = None,
            None if line.trim_start().trim_start_matches("pub ").starts_with("mod ") => {
                inside = line.ends_with('{').then(|| format!("{indent}}}"));
            }
            _ => {}
        }
        code += &if inside.is_some() { line.replace("super::", "self::") } else { line.to_owned() };
        code += "\n";
    }
    code
}

/// Every path in the code, a list in braces taken apart: `a::{b, c::d}` is `a::b` and `a::c::d`.
/// What is passed on by `pub use` is not used by that.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = code;
    while let Some(at) = rest.find("::") {
        let start = rest[..at].rfind(|c| !is_name(c)).map_or(0, |before| before + 1);
        let passed_on = rest[..start].ends_with("pub use ");
        let end = at + 2 + length_of_tree(&rest[at + 2..]);
        if !passed_on {
            found.extend(tree(&rest[start..end]));
        }
        rest = &rest[end..];
    }
    found.retain(|path| path.first().is_some_and(|name| !name.is_empty()));
    found
}

/// How long the rest of a path is: names, `::`, `*`, or a list in braces.
fn length_of_tree(text: &str) -> usize {
    let names =
        text.find(|c: char| !(c.is_alphanumeric() || "_:*".contains(c))).unwrap_or(text.len());
    if !text[names..].starts_with('{') || !(text[..names].ends_with("::") || names == 0) {
        return names;
    }
    let mut depth = 0;
    let closes = |c: char| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    };
    text[names..].find(closes).map_or(text.len(), |at| names + at + 1)
}

/// A path with lists in it, taken apart.
fn tree(text: &str) -> Vec<Vec<String>> {
    let names = |text: &str| -> Vec<String> {
        let text = text.split(" as ").next().unwrap();
        text.split("::")
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    let Some((before, list)) = text.split_once('{') else { return vec![names(text)] };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let mut depth = 0;
    let between = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    let parts: Vec<&str> = list.split(between).filter(|part| !part.trim().is_empty()).collect();
    let inside = parts.into_iter().flat_map(tree);
    inside.map(|path| [names(before), path].concat()).collect()
}

// ---- unsafe ----

/// Every file of the reference and of the stage, with its lines.
fn lines_of_src_and_stage() -> Vec<(String, Vec<String>)> {
    let files = |dir: &str| {
        let names = rust_files(Path::new(dir)).into_iter().map(|file| Path::new(dir).join(file));
        let lines =
            |file: &PathBuf| read(file).lines().map(|line| line.trim().to_owned()).collect();
        names.map(|file| (file.display().to_string(), lines(&file))).collect::<Vec<_>>()
    };
    [files("src"), files("stage/src")].concat()
}

#[test]
fn a_function_that_asks_something_of_its_caller_is_unsafe() {
    let mut notes = 0;
    for (file, lines) in lines_of_src_and_stage() {
        for (n, line) in lines.iter().enumerate().filter(|(_, line)| is_safety_note(line)) {
            let note = lines[n..].iter().take_while(|line| line.starts_with("//"));
            let note: Vec<&str> = note.map(String::as_str).collect();
            notes += 1;
            let is_doc = line.starts_with("///");
            assert!(is_doc || note.len() <= 3, "{file}:{}: a note of {} lines", n + 1, note.len());
            let function = match is_doc {
                true => {
                    lines[n..].iter().find(|line| !line.starts_with("//") && !line.starts_with('#'))
                }
                false if note.concat().contains("caller") => {
                    lines[..n].iter().rfind(|line| line.contains("fn ") && !line.starts_with("//"))
                }
                false => continue,
            };
            let function = function.expect("a note stands at or in a function");
            assert!(function.contains("unsafe "), "{file}:{}: {function} is safe", n + 1);
        }
    }
    assert!(notes > 20, "{notes} notes");
}

fn is_safety_note(line: &str) -> bool {
    line.starts_with("//") && (line.contains("SAFETY:") || line.contains("# Safety"))
}

/// Unsafe functions of `FromRawFd` and `GlobalAlloc`.
const TRAITS: [&str; 5] = ["from_raw_fd", "alloc", "alloc_zeroed", "dealloc", "realloc"];

#[test]
fn an_unsafe_function_says_what_it_asks_for() {
    let mut functions = 0;
    for (file, lines) in lines_of_src_and_stage() {
        for (n, line) in lines.iter().enumerate() {
            // Of a trait's own functions the trait says it.
            let of_trait = TRAITS.iter().any(|name| line.contains(&format!("fn {name}(")));
            if line.starts_with("//") || !line.contains("unsafe fn ") || of_trait {
                continue;
            }
            functions += 1;
            let above = lines[..n].iter().rev();
            let mut above =
                above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
            assert!(above.any(|line| line.contains("# Safety")), "{file}:{}: {line}", n + 1);
        }
    }
    assert!(functions > 1, "{functions} functions");
}
