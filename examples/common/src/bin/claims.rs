//! The ledger: what the kernel says to each claim of the article.
//!
//! Runs every example that answers a claim, prints the table, and writes it as a page. With
//! `--check` it writes nothing and fails where the page differs from the run.

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

Runs every example, prints what the kernel says to each claim of the article, and writes it to
docs/claims.md. With --check it compares with the page instead of writing it.

Exit code 0 if every claim has its one answer (and the page is that of this run), else 1;
2 for the command line.";

/// The verdict where a machine lacks what it takes.
const NOT_OBSERVED: &str = "not observed here";

/// A claim's one answer, and the example that gave it.
struct Row {
    claim: Claim,
    answer: Answer,
    example: String,
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
    match ledger().and_then(|rows| publish(&rows, check)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("claims: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the examples. Every claim has one answer and every answer a claim, or it is an error.
fn ledger() -> Result<Vec<Row>, Box<dyn Error>> {
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
            (Some((example, answer)), None) => rows.push(Row { claim, answer, example }),
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

fn publish(rows: &[Row], check: bool) -> Result<(), Box<dyn Error>> {
    for Row { claim, answer, example } in rows {
        let style = style(&answer.verdict);
        let Claim { id, section, statement, .. } = claim;
        say(format_args!("{BOLD}{id:<3}{BOLD:#} {section:<7} {statement}"));
        say(format_args!("            {style}{}{style:#}: {}", answer.verdict, answer.observed));
        say(format_args!("            make run EX={example}{}", lab_mark(claim)));
    }
    let page = page(rows);
    let path = page_path();
    let summary = summary(rows);
    if !check {
        fs::write(&path, page)?;
        say(format_args!("{summary} Written to docs/claims.md."));
        return Ok(());
    }
    let written = fs::read_to_string(&path)?;
    let mut unseen = rows.iter().filter(|row| row.answer.verdict == NOT_OBSERVED).peekable();
    let some_unseen = unseen.peek().is_some();
    for Row { claim, answer, .. } in unseen {
        say(format_args!("skipped: claim {}: {}", claim.id, answer.observed));
    }
    if page.lines().count() != written.lines().count() {
        return Err("docs/claims.md has another length; `make claims` writes it anew".into());
    }
    for (now, then) in page.lines().zip(written.lines()) {
        // What this machine cannot show, it cannot contradict.
        let excused = now.contains(NOT_OBSERVED) || (some_unseen && now.ends_with("do not."));
        if now != then && !excused {
            let hint = "`make claims` writes it anew";
            let lines = format!("  page: {then}\n  run:  {now}");
            return Err(format!("docs/claims.md differs; {hint}\n{lines}").into());
        }
    }
    say(format_args!("{summary} docs/claims.md says the same."));
    Ok(())
}

fn style(verdict: &str) -> Style {
    match verdict {
        "holds" => GOOD,
        _ if verdict.starts_with("holds when") => MIDDLE,
        _ => BAD,
    }
}

fn lab_mark(claim: &Claim) -> &'static str {
    if claim.needs_wire { "  (as the socket sees it; the wire is the lab's part)" } else { "" }
}

fn summary(rows: &[Row]) -> String {
    let count = |what: fn(&str) -> bool| rows.iter().filter(|r| what(&r.answer.verdict)).count();
    let holds = count(|v| v == "holds");
    let when = count(|v| v.starts_with("holds when"));
    let not = count(|v| v.starts_with("does not"));
    format!("{} claims: {holds} hold, {when} under a condition, {not} do not.", rows.len())
}

fn page(rows: &[Row]) -> String {
    let mut page = String::from(
        "# What the kernel says to the article's claims\n\n\
         `make claims` runs the examples and writes this page. `make test` fails if a run differs \
         from it.\nA verdict with a star is as the socket sees it: the segments themselves are \
         the lab's part.\n\n",
    );
    let _ = writeln!(page, "{}\n", summary(rows));
    page += "| id | § | the claim | verdict | what was observed | `make run EX=` |\n";
    page += "| --- | --- | --- | --- | --- | --- |\n";
    for Row { claim: Claim { id, section, statement, needs_wire }, answer, example } in rows {
        let star = if *needs_wire { "\\*" } else { "" };
        let verdict = &answer.verdict;
        let observed = answer.observed.replace('|', "\\|");
        let _ = writeln!(
            page,
            "| {id} | {section} | {statement} | {verdict}{star} | {observed} | `{example}` |"
        );
    }
    page
}

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/claims.md")
}

fn say(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}
