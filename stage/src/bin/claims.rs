//! The ledger: what the kernel says to each claim of the article.
//!
//! Runs every example and every experiment of the lab once, prints the tables, and writes them as a
//! page. With `--check` it writes nothing and fails where the page differs.
//!
//! On a busy machine the lab's link is late, and an experiment does not judge what that changes.
//! Then there is nothing to compare with the page, and nothing to write a page from.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anstyle::{AnsiColor, Style};
use stage::claims::{self, Claim};
use stage::runner::{self, Answer};

const GOOD: Style = AnsiColor::Green.on_default();
const MIDDLE: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const BOLD: Style = Style::new().bold();

const USAGE: &str = "\
usage: claims [--check]

Runs every example and every experiment, prints what the kernel says to each claim of the article,
and writes it to docs/claims.md. With --check it compares with the page instead of writing it.

What this machine cannot show, or is too busy for, is not compared: \"skipped: ...\" on standard error
says what and why. A page is not written where it is too busy.

Exit code 0 if every claim has its one answer (and the page is that of this run), else 1;
2 for the command line.";

/// The verdict where a machine lacks what it takes.
const NOT_OBSERVED: &str = "not observed here";

/// A claim's one answer, and the example or experiment that gave it.
struct Row {
    claim: Claim,
    answer: Answer,
    source: String,
}

/// The answers of the examples, one a claim; and those of the lab, which looks at the wire.
struct Ledger {
    examples: Vec<Row>,
    wire: Vec<Row>,
    /// What the lab could not judge.
    skipped: Vec<Skipped>,
}

/// Why an experiment has no answer.
struct Skipped {
    /// To which claim; `None`: to none in particular.
    claim: Option<String>,
    /// "lab experiment handshake: the link was 4 ms late".
    why: String,
}

impl Ledger {
    /// The claims that the lab has no answer to on this run.
    fn unanswered(&self) -> impl Iterator<Item = &str> {
        self.skipped.iter().filter_map(|skipped| skipped.claim.as_deref())
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let check = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        ["-h" | "--help"] => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("claims: it takes --check or nothing; see --help");
            return ExitCode::from(2);
        }
    };
    match ledger().and_then(|ledger| publish(&ledger, check)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("claims: {e}");
            ExitCode::FAILURE
        }
    }
}

fn ledger() -> Result<Ledger, Box<dyn Error>> {
    let mut ledger = Ledger { examples: from_examples()?, wire: Vec::new(), skipped: Vec::new() };
    from_the_wire(&mut ledger)?;
    Ok(ledger)
}

/// Runs the examples. Every claim has one answer and every answer a claim, or it is an error.
fn from_examples() -> Result<Vec<Row>, Box<dyn Error>> {
    let mut answers = Vec::new();
    let examples = runner::all()?;
    let progress = io::stderr().is_terminal();
    for (i, example) in examples.iter().enumerate() {
        if progress {
            eprint!("\r{:>3}/{} {:<40}", i + 1, examples.len(), example.name);
        }
        let outcome = runner::run(&example.name)?;
        if !outcome.output.status.success() {
            let printed = String::from_utf8_lossy(&outcome.output.stdout).into_owned();
            return Err(format!("{} failed\n{printed}", example.name).into());
        }
        answers.extend(outcome.answers.into_iter().map(|answer| (example.name.clone(), answer)));
    }
    if progress {
        eprint!("\r{:60}\r", "");
    }

    let mut rows = Vec::new();
    for claim in claims::all() {
        let (mine, rest): (Vec<_>, _) = answers.into_iter().partition(|(_, a)| a.id == claim.id);
        answers = rest;
        let mut mine = mine.into_iter();
        match (mine.next(), mine.next()) {
            (Some((example, answer)), None) => rows.push(Row { claim, answer, source: example }),
            (None, _) => return Err(format!("claim {} has no answer", claim.id).into()),
            (Some((first, _)), Some((second, _))) => {
                return Err(format!("{first} and {second} both answer {}", claim.id).into());
            }
        }
    }
    match answers.first() {
        Some((example, answer)) => Err(format!("{example} answers {}, no claim", answer.id).into()),
        None => Ok(rows),
    }
}

/// Runs the lab's experiments. Every claim that needs the wire has an answer, or a reason why it has
/// none, or it is an error.
fn from_the_wire(ledger: &mut Ledger) -> Result<(), Box<dyn Error>> {
    let mut answers = Vec::new();
    for name in runner::experiments()? {
        let outcome = runner::experiment(&name)?;
        match outcome.output.status.code() {
            Some(0 | NOT_JUDGED) => {}
            Some(NOT_POSSIBLE) => {
                let why = String::from_utf8_lossy(&outcome.output.stderr).trim().to_owned();
                let rows = claims::all().filter_map(|claim| not_observed(claim, &why));
                ledger.wire = rows.collect();
                return Ok(());
            }
            _ => {
                let printed = String::from_utf8_lossy(&outcome.output.stdout);
                return Err(format!("lab experiment {name} failed\n{printed}").into());
            }
        }
        if outcome.output.status.code() == Some(NOT_JUDGED) && outcome.unanswered.is_empty() {
            let why = format!("lab experiment {name}: the link was late");
            ledger.skipped.push(Skipped { claim: None, why });
        }
        for (id, why) in outcome.unanswered {
            let why = format!("lab experiment {name}: {why}");
            ledger.skipped.push(Skipped { claim: Some(id), why });
        }
        answers.extend(outcome.answers.into_iter().map(|answer| (name.clone(), answer)));
    }
    for claim in claims::all() {
        let mine: Vec<_> = answers.iter().filter(|(_, answer)| answer.id == claim.id).collect();
        match mine[..] {
            [] if claim.needs_wire && !ledger.unanswered().any(|id| id == claim.id) => {
                return Err(format!("no experiment answers claim {}", claim.id).into());
            }
            [] => {}
            [(source, answer)] => {
                ledger.wire.push(Row { claim, answer: answer.clone(), source: source.clone() });
            }
            [(first, _), (second, _), ..] => {
                return Err(format!("{first} and {second} both answer {}", claim.id).into());
            }
        }
    }
    Ok(())
}

/// The lab's exit codes.
const NOT_POSSIBLE: i32 = 3;
const NOT_JUDGED: i32 = 4;

fn not_observed(claim: Claim, why: &str) -> Option<Row> {
    let answer = Answer {
        id: claim.id.to_owned(),
        verdict: NOT_OBSERVED.to_owned(),
        observed: why.to_owned(),
    };
    claim.needs_wire.then(|| Row { claim, answer, source: "doctor".to_owned() })
}

fn publish(ledger: &Ledger, check: bool) -> Result<(), Box<dyn Error>> {
    for (rows, how) in [(&ledger.examples, "make run EX="), (&ledger.wire, "lab experiment ")] {
        for Row { claim: Claim { id, section, statement, .. }, answer, source } in rows {
            let style = style(&answer.verdict);
            say(format_args!("{BOLD}{id:<3}{BOLD:#} {section:<7} {statement}"));
            say(format_args!(
                "            {style}{}{style:#}: {}",
                answer.verdict, answer.observed
            ));
            say(format_args!("            {how}{source}"));
        }
    }
    let page = page(ledger);
    let path = page_path();
    let summary = summary(&ledger.examples);
    for Skipped { claim, why } in &ledger.skipped {
        let claim = claim.as_ref().map_or(String::new(), |id| format!("claim {id}: "));
        eprintln!("skipped: {claim}{why}");
    }
    if !check {
        if ledger.unanswered().next().is_some() {
            return Err("not every claim was judged, so docs/claims.md is left as it was".into());
        }
        fs::write(&path, page)?;
        say(format_args!("{summary} Written to docs/claims.md."));
        return Ok(());
    }
    compare(ledger, &page, &fs::read_to_string(&path)?)?;
    say(format_args!("{summary} docs/claims.md says the same."));
    Ok(())
}

/// Fails where the written page differs from this run's.
fn compare(ledger: &Ledger, page: &str, written: &str) -> Result<(), Box<dyn Error>> {
    let unseen = |rows: &[Row]| rows.iter().any(|row| row.answer.verdict == NOT_OBSERVED);
    let mut excused_ids = Vec::new();
    for Row { claim, answer, .. } in ledger.examples.iter().chain(&ledger.wire) {
        if answer.verdict == NOT_OBSERVED {
            eprintln!("skipped: claim {}: {}", claim.id, answer.observed);
            excused_ids.push(format!("| {} |", claim.id));
        }
    }
    let rows = page.lines().count() + ledger.unanswered().count();
    if rows != written.lines().count() && !unseen(&ledger.wire) {
        return Err("docs/claims.md has another length; `make claims` writes it anew".into());
    }
    // What this machine cannot show, it cannot contradict.
    let counted = |line: &str| line.ends_with("do not.") && unseen(&ledger.examples);
    let excused = |line: &str| {
        counted(line)
            || line.contains(NOT_OBSERVED)
            || excused_ids.iter().any(|id| line.starts_with(id))
    };
    let written: Vec<&str> = written.lines().collect();
    for line in page.lines().filter(|line| !excused(line)) {
        if !written.contains(&line) {
            let hint = "`make claims` writes it anew";
            return Err(format!("docs/claims.md differs; {hint}\n  not there: {line}").into());
        }
    }
    Ok(())
}

fn style(verdict: &str) -> Style {
    match verdict {
        "holds" => GOOD,
        _ if verdict.starts_with("holds when") => MIDDLE,
        _ => BAD,
    }
}

fn summary(rows: &[Row]) -> String {
    let count = |what: fn(&str) -> bool| rows.iter().filter(|r| what(&r.answer.verdict)).count();
    let holds = count(|v| v == "holds");
    let when = count(|v| v.starts_with("holds when"));
    let not = count(|v| v.starts_with("does not"));
    format!("{} claims: {holds} hold, {when} under a condition, {not} do not.", rows.len())
}

fn page(ledger: &Ledger) -> String {
    let mut page = String::from(
        "# What the kernel says to the article's claims\n\n\
         `make claims` runs the examples and the lab's experiments, and writes this page. `make \
         test` fails\nif a run differs from it.\n\n\
         ## As a socket sees it\n\n\
         A verdict with a star is about the wire too, and stands once more in the second \
         table.\n\n",
    );
    let _ = writeln!(page, "{}\n", summary(&ledger.examples));
    table(&mut page, &ledger.examples, "make run EX=");
    page += "\n## On the wire\n\n\
             Two hosts, a link, and what was captured at both ends: `make lab` runs all of it.\n\n";
    table(&mut page, &ledger.wire, "lab experiment");
    page
}

fn table(page: &mut String, rows: &[Row], how: &str) {
    let _ = writeln!(page, "| id | § | the claim | verdict | what was observed | `{how}` |");
    *page += "| --- | --- | --- | --- | --- | --- |\n";
    for Row { claim: Claim { id, section, statement, needs_wire }, answer, source } in rows {
        let star = if *needs_wire && how.starts_with("make") { "\\*" } else { "" };
        let verdict = &answer.verdict;
        let observed = answer.observed.replace('|', "\\|");
        let _ = writeln!(
            page,
            "| {id} | {section} | {statement} | {verdict}{star} | {observed} | `{source}` |"
        );
    }
}

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/claims.md")
}

fn say(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}
