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

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// An answer: a module, and a row of the table of them.
struct Answer {
    exercise: String,
    name: String,
    kind: &'static str,
    /// A part of what a wrong one has to get.
    message: String,
    text: String,
}

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let mut answers = Vec::new();
    for (dir, kind) in [("../exercises", "starter"), ("../solutions", "solution")] {
        for file in files(&here.join(dir), "rs")? {
            // The marks of what the starter has instead are nothing that a change would change.
            let unmarked = |line: &&str| !matches!(line.trim_start().get(..3), Some("//>" | "//<"));
            let text = fs::read_to_string(&file)?;
            let text = text.lines().filter(unmarked).map(|line| format!("{line}\n")).collect();
            let (name, message) = (kind.into(), String::new());
            answers.push(Answer { exercise: stem(&file), name, kind, message, text });
        }
    }
    for kind in ["right", "wrong"] {
        for file in files(&here.join(kind), "diff")? {
            let (exercise, text) = (stem(&file), format!("\n{}", fs::read_to_string(&file)?));
            for entry in text.split("\n# ").skip(1) {
                let (head, change) = entry.split_once('\n').unwrap_or((entry, ""));
                let Some((name, message)) = head.split_once(": ") else {
                    panic!("{}: {head:?} is not `NAME: MESSAGE`", file.display())
                };
                let named = name.strip_suffix(')').and_then(|n| n.split_once(" (as "));
                let (name, base) = named.unwrap_or((name, "solution"));
                let base = find(&answers, &exercise, base);
                let text = changed(&base.text, change)
                    .unwrap_or_else(|why| panic!("{exercise} {name}: {why}"));
                let (kind, message) = match message.strip_prefix("= ") {
                    _ if kind == "right" => (kind, ""),
                    Some(other) => ("again", &*find(&answers, &exercise, other).message),
                    None => (kind, message),
                };
                let (exercise, name, message) = (exercise.clone(), name.into(), message.into());
                answers.push(Answer { exercise, name, kind, message, text });
            }
        }
    }
    write(&answers)
}

/// The answer with this name, which has to stand before.
fn find<'a>(answers: &'a [Answer], exercise: &str, name: &str) -> &'a Answer {
    let found = answers.iter().find(|a| a.exercise == exercise && a.name == name);
    found.unwrap_or_else(|| panic!("{exercise}: there is no answer {name}, or not before"))
}

/// The base with each of its places changed.
fn changed(base: &str, change: &str) -> Result<String, String> {
    if change.lines().all(|line| line.starts_with('+')) {
        return whole(base, change);
    }
    let text = format!("\n{base}");
    let mut places = Vec::new();
    let mut place = |old: &str, new: &str| {
        let found: Vec<_> = text.match_indices(old).collect();
        let [(at, _)] = found[..] else {
            return Err(format!("this stands {} times in it:\n{old}", found.len()));
        };
        places.push((at..at + old.len(), new.to_owned()));
        Ok(())
    };
    // Lines that stand together are one place, whole lines of the base.
    let (mut old, mut new) = (String::from("\n"), String::from("\n"));
    for line in change.lines().chain([""]) {
        let (sign, rest) = line.split_at(line.len().min(1));
        match sign {
            "-" => old += &format!("{rest}\n"),
            "+" => new += &format!("{rest}\n"),
            " " => (old, new) = (format!("{old}{rest}\n"), format!("{new}{rest}\n")),
            "" | "~" if old != new => {
                place(&old, &new)?;
                (old, new) = ("\n".into(), "\n".into());
            }
            "" | "~" => {}
            _ => return Err(format!("a line begins with {sign:?}")),
        }
        if sign == "~" {
            let (old, new) = rest.trim_start().split_once(" ~>").ok_or("a `~` without a `~>`")?;
            place(old, new.trim_start())?;
        }
    }
    if places.is_empty() {
        return Err("it changes nothing".into());
    }
    // From the end on, so that the places before stay where they are.
    places.sort_by_key(|(range, _)| usize::MAX - range.start);
    let mut text = text;
    places.into_iter().for_each(|(range, new)| text.replace_range(range, &new));
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
fn write(answers: &[Answer]) -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let (mut modules, mut rows) = (String::new(), String::new());
    for Answer { exercise, name, kind, message, text } in answers {
        let module = format!("{exercise}__{name}");
        let copy = out.join(format!("{module}.rs"));
        let text = format!("{text}\npub(crate) fn run() -> std::process::ExitCode {{ main() }}\n");
        fs::write(&copy, text)?;
        // Wrong answers are written as learners write them, without notes and for no linter.
        modules += &format!(
            "#[allow(warnings, clippy::all, clippy::undocumented_unsafe_blocks)]\n\
             #[path = {copy:?}]\nmod {module};\n"
        );
        rows += &format!(
            "Answer {{ exercise: {exercise:?}, name: {name:?}, kind: {kind:?}, \
             refused: {message:?}, run: {module}::run }},\n"
        );
    }
    let table = format!("{modules}\nconst ANSWERS: &[Answer] = &[\n{rows}];\n");
    fs::write(out.join("answers.rs"), table)
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
        match path.is_dir() {
            true => found.extend(files(&path, ending)?),
            false => found.push(path),
        }
    }
    found.retain(|file| file.extension().is_some_and(|e| e == ending));
    found.sort();
    Ok(found)
}
