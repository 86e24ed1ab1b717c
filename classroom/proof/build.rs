//! Makes one program of all answers: each becomes a module, whose `main` can be called.
//!
//! Answers beside the solutions are changes: `right/EXERCISE.diff` and `wrong/EXERCISE.diff` list
//! them. `# NAME: MESSAGE` begins one, with what is unusual in a right answer, or the message that a
//! wrong one has to get; lines with `-` and ` ` have to stand in the solution, exactly once, and
//! those with `+` and ` ` take their place; a line without anything begins the next place. `~ OLD ~>
//! NEW` changes a part of a line, which has to stand there exactly once. `# NAME (as OTHER): MESSAGE`
//! changes the answer OTHER instead. `# NAME: = OTHER` is the mistake
//! OTHER, made in another way. Where all lines have `+`, they are the whole answer, between the
//! solution's imports and its `main`, unless they have one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io, mem};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let mut program = Program::new(PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")));
    // The answers that a change may begin with: the solution under its exercise's name alone.
    let mut bases = BTreeMap::new();
    for (dir, kind) in [("../exercises", "starter"), ("../solutions", "solution")] {
        for file in files(&here.join(dir), "rs")? {
            let (exercise, text) = (stem(&file), fs::read_to_string(&file)?);
            program.add(&exercise, kind, kind, "", &text)?;
            // The marks of what the starter has instead are nothing that a change would change.
            let unmarked = |line: &&str| !matches!(line.trim_start().get(..3), Some("//>" | "//<"));
            let text =
                text.lines().filter(unmarked).map(|line| format!("{line}\n")).collect::<String>();
            bases.insert((exercise, kind.to_owned()), text);
        }
    }
    for kind in ["right", "wrong"] {
        for file in files(&here.join(kind), "diff")? {
            let (exercise, text) = (stem(&file), fs::read_to_string(&file)?);
            let (text, mut messages) = (format!("\n{text}"), BTreeMap::new());
            for entry in text.split("\n# ").skip(1) {
                let (head, change) = entry.split_once('\n').unwrap_or((entry, ""));
                let Some((name, message)) = head.split_once(": ") else {
                    panic!("{}: {head:?} is not `NAME: MESSAGE`", file.display())
                };
                let named = name.strip_suffix(')').and_then(|n| n.split_once(" (as "));
                let (name, base) = named.unwrap_or((name, "solution"));
                let base = bases
                    .get(&(exercise.clone(), base.into()))
                    .unwrap_or_else(|| panic!("{exercise} {name}: there is no answer {base}"));
                let text =
                    changed(base, change).unwrap_or_else(|why| panic!("{exercise} {name}: {why}"));
                bases.insert((exercise.clone(), name.into()), text.clone());
                if kind == "right" {
                    program.add(&exercise, name, kind, "", &text)?;
                    continue;
                }
                let (kind, message) = match message.strip_prefix("= ") {
                    Some(other) => (
                        "again",
                        messages.get(other).copied().unwrap_or_else(|| {
                            panic!("{exercise} {name}: no mistake {other} stands before it")
                        }),
                    ),
                    None => (kind, message),
                };
                messages.insert(name, message);
                program.add(&exercise, name, kind, message, &text)?;
            }
        }
    }
    program.write()
}

/// The base with each of its places changed.
fn changed(base: &str, change: &str) -> Result<String, String> {
    if change.lines().all(|line| line.starts_with('+')) {
        return whole(base, change);
    }
    let text = format!("\n{base}");
    let mut places = Vec::new();
    // Lines that stand together are one place, whole lines of the base.
    let (mut old, mut new) = (String::from("\n"), String::from("\n"));
    for line in change.lines().chain([""]) {
        let (sign, rest) = line.split_at(line.len().min(1));
        match sign {
            "-" => old += &format!("{rest}\n"),
            "+" => new += &format!("{rest}\n"),
            " " => (old, new) = (format!("{old}{rest}\n"), format!("{new}{rest}\n")),
            "" | "~" if old != new => {
                places.push(mem::replace(&mut old, "\n".into()));
                places.push(mem::replace(&mut new, "\n".into()));
            }
            _ => {}
        }
        if sign == "~" {
            let (old, new) = rest.trim_start().split_once(" ~>").ok_or("a `~` without a `~>`")?;
            places.extend([old.to_owned(), new.trim_start().to_owned()]);
        } else if !["-", "+", " ", ""].contains(&sign) {
            return Err(format!("a line begins with {sign:?}"));
        }
    }
    let mut found = Vec::new();
    for place in places.chunks(2) {
        let at: Vec<usize> = text.match_indices(&place[0]).map(|(at, _)| at).collect();
        let [at] = at[..] else {
            return Err(format!("this stands {} times in it:\n{}", at.len(), place[0]));
        };
        found.push((at..at + place[0].len(), &place[1]));
    }
    if found.is_empty() {
        return Err("it changes nothing".into());
    }
    // From the end on, so that the places before stay where they are.
    found.sort_by_key(|(range, _)| usize::MAX - range.start);
    let mut text = text;
    for (range, new) in found {
        text.replace_range(range, new);
    }
    Ok(text)
}

/// An answer of its own, in the frame of the base.
fn whole(base: &str, change: &str) -> Result<String, String> {
    let own = change.lines().map(|line| format!("{}\n", &line[1..])).collect::<String>();
    let lines: Vec<&str> = base.lines().collect();
    let is_item =
        |line: &&str| ["fn ", "struct ", "///"].iter().any(|begin| line.starts_with(begin));
    let items = lines.iter().position(is_item).ok_or("its base has no function")?;
    let imports = lines[..items].iter().rposition(|line| line.starts_with("use "));
    let main = lines.iter().position(|line| line.starts_with("fn main()")).ok_or("no main")?;
    let own_main = own.contains("fn main()");
    let tail = if own_main { String::new() } else { lines[main..].join("\n") };
    Ok(format!("{}\n\n{own}\n{tail}\n", lines[..=imports.unwrap_or(0)].join("\n")))
}

/// A module for each answer, and a table of them.
struct Program {
    out: PathBuf,
    modules: String,
    rows: String,
}

impl Program {
    fn new(out: PathBuf) -> Program {
        Program { out, modules: String::new(), rows: String::new() }
    }

    fn add(
        &mut self,
        exercise: &str,
        name: &str,
        kind: &str,
        message: &str,
        text: &str,
    ) -> io::Result<()> {
        let module = format!("{exercise}__{name}");
        let copy = self.out.join(format!("{module}.rs"));
        let text = format!("{text}\npub(crate) fn run() -> std::process::ExitCode {{ main() }}\n");
        fs::write(&copy, text)?;
        // Wrong answers are written as learners write them, without notes and for no linter.
        let _ = writeln!(
            self.modules,
            "#[allow(warnings, clippy::all, clippy::undocumented_unsafe_blocks)]\n\
             #[path = {copy:?}]\nmod {module};"
        );
        let _ = writeln!(
            self.rows,
            "Answer {{ exercise: {exercise:?}, name: {name:?}, kind: {kind:?}, \
             refused: {message:?}, run: {module}::run }},"
        );
        Ok(())
    }

    fn write(self) -> io::Result<()> {
        let Program { out, modules, rows } = self;
        fs::write(
            out.join("answers.rs"),
            format!("{modules}\nconst ANSWERS: &[Answer] = &[\n{rows}];\n"),
        )
    }
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files with this ending in `dir` and in its directories, in order.
fn files(dir: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            for file in fs::read_dir(path)? {
                found.push(file?.path());
            }
        } else {
            found.push(path);
        }
    }
    found.retain(|file| file.extension().is_some_and(|e| e == ending));
    found.sort();
    Ok(found)
}
