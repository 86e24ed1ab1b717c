//! The traces in docs/traces are what the kernel does today: each example with a peer is traced
//! once, and its outline compared. `make traces` (TRACES=write) writes them anew.

#[path = "common/skip.rs"]
mod skip;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, iter, thread};

use lab::output::{jsonl, outline};
use lab::record::Trace;
use skip::skipped;

/// A trace is written only if so many runs in a row drew the same.
const RUNS: usize = 5;
/// So many examples are traced at a time: most of a trace is waiting.
const AT_ONCE: usize = 4;
/// So many lines of a difference are shown.
const SHOWN: usize = 12;
/// What stands around the list in the index.
const MARKS: [&str; 2] = ["<!-- written by make traces -->\n", "<!-- end -->\n"];

#[test]
fn the_traces_are_those_of_a_run() {
    let writes = env::var("TRACES").is_ok_and(|what| what == "write");
    let only = env::var("EX").ok();
    let mut problems = Vec::new();
    let examples = examples();
    let without = without();
    let written =
        KEPT.iter().flat_map(|extension| names(&docs(), extension)).collect::<BTreeSet<_>>();
    let mut pairs = BTreeMap::new();
    let mut alone = BTreeSet::new();
    for name in examples {
        let Some(help) = help(&name) else {
            return skipped(&format!("{name} is not built: cargo build --examples"));
        };
        match help.contains("--role") {
            true => drop(pairs.insert(name, title(&help))),
            false => drop(alone.insert(name)),
        }
    }
    for name in written.iter().chain(without.keys()).filter(|name| !pairs.contains_key(*name)) {
        problems.push(format!("docs/traces names {name}, and no such example has a peer"));
    }
    for name in pairs.keys() {
        let path = docs().join(name).with_extension("txt");
        match (without.contains_key(name), path.exists()) {
            (true, true) => problems.push(format!("{name} has a trace, and is in without.tsv")),
            (false, false) if !writes => {
                problems.push(format!("{name} has no trace, and is not in without.tsv"));
            }
            _ => {}
        }
    }
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.starts_with(only.as_str()));
    let list = pairs.iter().filter(|(name, _)| !without.contains_key(*name) && wanted(name));
    problems.extend(traced(list, writes));
    problems.extend(index(&pairs, &alone, &without, writes));
    assert!(problems.is_empty(), "{}\n`make traces` writes it anew\n", problems.join("\n"));
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/traces")
}

/// The names of the files in `dir` with that extension, without it.
fn names(dir: &Path, extension: &str) -> BTreeSet<String> {
    let paths = fs::read_dir(dir).expect("a directory").map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ext| ext == extension));
    paths.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

fn examples() -> BTreeSet<String> {
    names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"), "rs")
}

/// The examples that are left out, and why.
fn without() -> BTreeMap<String, String> {
    let table = fs::read_to_string(docs().join("without.tsv")).expect("without.tsv");
    let rows = table.lines().map(|line| line.split_once('\t').expect("a name, a tab, a reason"));
    rows.map(|(name, why)| (name.to_owned(), why.to_owned())).collect()
}

fn help(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("examples").join(name);
    let help = Command::new(path).arg("--help").output().ok()?;
    Some(String::from_utf8(help.stdout).expect("text"))
}

fn title(help: &str) -> String {
    help.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

enum Failed {
    /// This machine does not allow it.
    NotHere(String),
    Otherwise(String),
}

/// Traces the examples, some at a time; gives what is wrong with them.
fn traced<'a>(
    list: impl Iterator<Item = (&'a String, &'a String)> + Send,
    writes: bool,
) -> Vec<String> {
    let list = Mutex::new(list);
    let (problems, not_here) = (Mutex::new(BTreeMap::new()), Mutex::new(None));
    let next = || list.lock().unwrap().next();
    let work = || {
        while let Some((name, title)) = next() {
            match if writes { write(name, title) } else { compare(name, title) } {
                Ok(()) => {}
                Err(Failed::NotHere(why)) if !writes => {
                    *not_here.lock().unwrap() = Some(why);
                    return;
                }
                Err(Failed::NotHere(why) | Failed::Otherwise(why)) => {
                    problems.lock().unwrap().insert(name, format!("{name}: {why}"));
                }
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    if let Some(why) = not_here.into_inner().unwrap() {
        skipped(&why);
    }
    problems.into_inner().unwrap().into_values().collect()
}

/// The files of a trace: its outline, and which lines of the example led to which lines of that.
const KEPT: [&str; 2] = ["txt", "lines"];

/// Traces an example once, and compares.
fn compare(name: &str, title: &str) -> Result<(), Failed> {
    let drawn = draw(name, title)?;
    for (extension, drawn) in KEPT.iter().zip(drawn) {
        let path = docs().join(name).with_extension(extension);
        let kept = fs::read_to_string(path).unwrap_or_default();
        if drawn != kept {
            let difference = difference(&kept, &drawn);
            return Err(Failed::Otherwise(format!("another {name}.{extension}\n{difference}")));
        }
    }
    Ok(())
}

/// Traces an example several times, and writes what all runs drew.
fn write(name: &str, title: &str) -> Result<(), Failed> {
    let drawn = draw(name, title)?;
    for _ in 1..RUNS {
        let other = draw(name, title)?;
        if let Some((one, other)) = iter::zip(&drawn, &other).find(|(one, other)| one != other) {
            let difference = difference(one, other);
            return Err(Failed::Otherwise(format!("two runs differ\n{difference}")));
        }
    }
    for (extension, drawn) in KEPT.iter().zip(drawn) {
        fs::write(docs().join(name).with_extension(extension), drawn).expect("a trace is written");
    }
    Ok(())
}

/// Which lines of the example led to which lines of its trace, both by their numbers.
fn led(file: &str, trace: &Trace, above: usize) -> BTreeMap<usize, Vec<usize>> {
    let mut led: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, lines) in outline::led(trace, file).into_iter().enumerate() {
        lines.into_iter().for_each(|line| led.entry(line).or_default().push(above + row + 1));
    }
    led
}

/// A row a line of the example: the lines of its trace, how many lines of the example up to there
/// read the same, and how it reads. No number of the example's lines: a comment may move them.
fn table(led: &BTreeMap<usize, Vec<usize>>, source: &str) -> String {
    let source: Vec<&str> = source.lines().collect();
    let row = |(line, rows): (&usize, &Vec<usize>)| {
        let text = source[line - 1];
        let place = source[..*line].iter().filter(|other| **other == text).count();
        let in_a_row = rows.chunk_by(|one, next| one + 1 == *next);
        let ranges = in_a_row.map(|rows| match rows {
            [only] => only.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        });
        format!("{}\t{place}\t{text}\n", ranges.collect::<Vec<String>>().join(","))
    };
    led.iter().map(row).collect()
}

/// Traces an example, and draws its outline and what led to it.
fn draw(name: &str, title: &str) -> Result<[String; 2], Failed> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("traces").join(name);
    let _ = fs::remove_dir_all(&dir);
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    let ran = lab.args(["trace", name, "--strict", "--out"]).arg(&dir).output().expect("lab runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let last = |count: usize| lines[lines.len().saturating_sub(count)..].join("\n");
    match ran.status.code() {
        Some(0) => {}
        Some(3) => return Err(Failed::NotHere(last(1))),
        _ => {
            let traced = String::from_utf8_lossy(&ran.stdout);
            let broken: String =
                traced.split_inclusive('\n').filter(|line| line.starts_with("broken: ")).collect();
            return Err(Failed::Otherwise(format!("{}\n{broken}{}", ran.status, last(SHOWN))));
        }
    }
    let file = File::open(dir.join("trace.jsonl")).expect("a trace is written");
    let trace = jsonl::read(BufReader::new(file)).expect("a trace reads back");
    let _ = fs::remove_dir_all(&dir);
    match trace.about.missing.first() {
        Some(missing) if missing.starts_with("the end: ") => {
            Err(Failed::Otherwise(format!("too long for an outline: {missing}")))
        }
        Some(missing) if missing.starts_with("the calls ") => {
            Err(Failed::Otherwise(format!("not the whole program: {missing}")))
        }
        Some(missing) => Err(Failed::NotHere(missing.clone())),
        None => {
            let outline = outline::draw(&trace);
            let text = format!("{name}  {title}\nmake trace EX={name}\n\n{outline}");
            let file = format!("{name}.rs");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(&file);
            let source = fs::read_to_string(path).expect("an example");
            // Above the outline's rows are the title, the command and the heading.
            let above = text.lines().count() - (outline.lines().count() - 1);
            Ok([text, table(&led(&file, &trace, above), &source)])
        }
    }
}

/// What differs: the lines between the first and the last that do.
fn difference(kept: &str, drawn: &str) -> String {
    let (kept, drawn): (Vec<_>, Vec<_>) = (kept.lines().collect(), drawn.lines().collect());
    let begin = iter::zip(&kept, &drawn).take_while(|(one, other)| one == other).count();
    let rest = iter::zip(kept[begin..].iter().rev(), drawn[begin..].iter().rev());
    let end = rest.take_while(|(one, other)| one == other).count();
    let shown = |sign: char, lines: &[&str]| {
        let lines = &lines[begin..lines.len() - end];
        let first = lines.iter().take(SHOWN).map(|line| format!("{sign} {line}\n"));
        let more = lines.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("{sign} and {more} lines more\n"));
        first.chain(more).collect::<String>()
    };
    format!("at line {}\n{}{}", begin + 1, shown('-', &kept), shown('+', &drawn))
}

/// The lists in the index: compared, or written.
fn index(
    pairs: &BTreeMap<String, String>,
    alone: &BTreeSet<String>,
    without: &BTreeMap<String, String>,
    writes: bool,
) -> Option<String> {
    let path = docs().join("README.md");
    let text = fs::read_to_string(&path).expect("the index");
    let (before, rest) = text.split_once(MARKS[0]).expect("the first mark");
    let (list, after) = rest.split_once(MARKS[1]).expect("the second mark");
    let mut fresh = String::from("\n| trace | what it shows |\n| --- | --- |\n");
    for (name, title) in pairs.iter().filter(|(name, _)| !without.contains_key(*name)) {
        fresh += &format!("| [{name}]({name}.txt) | {title} |\n");
    }
    fresh += "\nWithout one:\n\n| example | why |\n| --- | --- |\n";
    for (name, why) in without {
        fresh += &format!("| `{name}` | {why} |\n");
    }
    let alone: Vec<String> = alone.iter().map(|name| format!("`{name}`")).collect();
    let alone = alone.join(", ");
    fresh += &format!("\nNot of two hosts, so nothing goes over the lab's link: {alone}.\n\n");
    if list == fresh {
        return None;
    }
    if writes {
        let whole = format!("{before}{}{fresh}{}{after}", MARKS[0], MARKS[1]);
        fs::write(&path, whole).expect("the index is written");
        return None;
    }
    Some(format!("docs/traces/README.md: another list\n{}", difference(list, &fresh)))
}

#[test]
fn an_example_without_a_peer_is_not_traced() {
    let name = "s07_resolve";
    if help(name).is_none() {
        return skipped(&format!("{name} is not built: cargo build --examples"));
    }
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    let ran = lab.args(["trace", name]).output().expect("lab runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    match ran.status.code() {
        Some(3) => skipped(said.trim_end()),
        code => assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}"),
    }
    assert!(ran.stdout.is_empty(), "nothing was traced");
}
