//! Runs examples as programs and collects what they report: for `run-examples` and `claims`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{env, fs, io, process};

/// An example's name and what its source says.
#[derive(Clone, Debug)]
pub struct Example {
    /// The file's name without `.rs`.
    pub name: String,
    /// The section of the article: the first number after "Article" in the header.
    pub section: Vec<u32>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status and all that was printed.
    pub output: Output,
    /// How many checks were made.
    pub checks: usize,
    /// The claims that were answered.
    pub answers: Vec<Answer>,
    /// Those that were not, by id, and why.
    pub unanswered: Vec<(String, String)>,
    /// How long it took.
    pub time: Duration,
}

/// The answer to a claim.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The claim's id.
    pub id: String,
    /// "holds", "holds when …", "does not hold on Linux".
    pub verdict: String,
    /// What was seen.
    pub observed: String,
}

/// All examples, in the order of the article.
pub fn all() -> io::Result<Vec<Example>> {
    let mut examples = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "rs")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            let section = section(&fs::read_to_string(&path)?);
            examples.push(Example { name: name.to_owned(), section });
        }
    }
    examples.sort_by_key(|example| (example.section.clone(), example.name.clone()));
    Ok(examples)
}

fn section(source: &str) -> Vec<u32> {
    let after = source.split_once("Article ").map_or("", |(_, after)| after);
    let number = after.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    number.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// Runs one example, which must have been built, and waits for its end.
pub fn run(name: &str) -> io::Result<Outcome> {
    let built = env::current_exe()?.with_file_name("examples");
    let report: PathBuf = built.join(format!("{name}.{}.report", process::id()));
    let start = Instant::now();
    let output = Command::new(built.join(name)).arg("--report").arg(&report).output();
    let output = output.map_err(|e| {
        io::Error::new(e.kind(), format!("{name}: {e}; `make run-examples` builds it"))
    })?;
    let time = start.elapsed();
    outcome(output, &report, name, time)
}

/// What a program has written to the file after `--report`: how many checks, and its answers.
fn outcome(output: Output, report: &Path, name: &str, time: Duration) -> io::Result<Outcome> {
    let text = fs::read_to_string(report).unwrap_or_default(); // none if it died
    let _ = fs::remove_file(report);
    let (mut checks, mut answers, mut unanswered) = (0, Vec::new(), Vec::new());
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["checks", n, _] => checks = n.parse().map_err(io::Error::other)?,
            ["claim", id, verdict, observed] => answers.push(Answer {
                id: id.to_owned(),
                verdict: verdict.to_owned(),
                observed: observed.to_owned(),
            }),
            ["unanswered", id, why] => unanswered.push((id.to_owned(), why.to_owned())),
            _ => return Err(io::Error::other(format!("{name} reports {line:?}"))),
        }
    }
    Ok(Outcome { output, checks, answers, unanswered, time })
}

/// The lab's experiments, by name: what it lists.
pub fn experiments() -> io::Result<Vec<String>> {
    let output = Command::new(lab()?).arg("experiment").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// Runs one of the lab's experiments, in its quick setting. Its exit code 3: not on this machine.
/// 4: not all of it was judged, for this machine was too busy to keep the link on time.
pub fn experiment(name: &str) -> io::Result<Outcome> {
    let lab = lab()?;
    let report = lab.with_file_name(format!("{name}.{}.report", process::id()));
    let start = Instant::now();
    let mut command = Command::new(&lab);
    command.args(["experiment", name, "--quick", "--out"]).arg(lab.with_file_name("lab-quick"));
    let output = command.arg("--report").arg(&report).output()?;
    let time = start.elapsed();
    outcome(output, &report, name, time)
}

/// The lab's program lies beside this one.
fn lab() -> io::Result<PathBuf> {
    let lab = env::current_exe()?.with_file_name("lab");
    match fs::exists(&lab)? {
        true => Ok(lab),
        false => Err(io::Error::other("the lab has not been built: `make claims` does")),
    }
}
