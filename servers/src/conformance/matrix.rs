//! Every server there is against every check: `conformance --matrix`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use super::checks::{CHECKS, Check};
use super::expected::{Expected, Verdict};
use super::report::{BAD, DIM, GOOD, say};
use super::server::Recipe;
use super::suite::{Findings, Outcome, Plan};
use crate::rungs::not_here;

/// Who promises to drop a client that is stuck inside a frame, and after how many seconds.
const PROMISES: [(&str, u64); 4] =
    [("echo", 10), ("r07_deadlines", 5), ("r08_graceful", 5), ("r09_tracing", 5)];

/// The servers: the rungs, the reference's program, tokio's, Python's.
///
/// The programs stand beside this one, where cargo puts them. Also says who is missing, and why.
pub fn servers() -> io::Result<(Vec<Plan>, Vec<String>)> {
    let here = env::current_exe()?;
    let dir = here.parent().unwrap_or(Path::new("."));
    let (mut plans, mut missing) = (Vec::new(), Vec::new());
    for rung in rungs(dir)? {
        let name = rung.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(why) = not_here(&name) {
            missing.push(why);
            continue;
        }
        plans.push(plan(&name, &[rung.as_os_str().into(), "127.0.0.1".into(), "0".into()]));
    }
    let echo = dir.join("echo");
    if echo.exists() {
        let args = ["server", "127.0.0.1", "0"].map(OsString::from);
        plans.push(plan("echo", &[&[echo.into()], &args[..]].concat()));
    } else {
        missing.push("echo: not built; `cargo build` makes it".into());
    }
    plans.push(plan("tokio", &[dir.join("peer_tokio").into(), "127.0.0.1".into(), "0".into()]));
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peer.py");
    match python() {
        Ok(()) => plans.push(plan(
            "python",
            &["python3", peer, "server", "127.0.0.1", "0"].map(OsString::from),
        )),
        Err(why) => missing.push(format!("python: {why}")),
    }
    Ok((plans, missing))
}

fn plan(name: &str, words: &[OsString]) -> Plan {
    let recipe = Recipe { words: words.into() };
    let promise = PROMISES.iter().find(|(server, _)| *server == name);
    let deadline = promise.map(|(_, seconds)| Duration::from_secs(*seconds));
    Plan { name: name.into(), recipe, tls: name.ends_with("_tls"), one_frame: false, deadline }
}

/// Programs named `rNN_…`, in order.
fn rungs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_rung = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_prefix('r').and_then(|rest| rest.split_once('_'));
        let numbered = number.is_some_and(|(n, _)| n.len() == 2 && n.parse::<u8>().is_ok());
        numbered && path.extension().is_none() && path.is_file()
    };
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    let mut rungs = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    rungs.retain(is_rung);
    rungs.sort();
    Ok(rungs)
}

/// Python 3.10 or later, for `match`.
fn python() -> Result<(), String> {
    let probe = ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"];
    match Command::new("python3").args(probe).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("python3 is older than 3.10".into()),
        Err(e) => Err(format!("python3: {e}")),
    }
}

/// One server's run, or why there was none.
pub type Column<'a> = (&'a Plan, Result<Findings, String>);

/// A line when one server is through. Returns what was not expected, a line each.
pub fn sum_up(
    (plan, findings): &Column,
    expected: &Expected,
    from: Instant,
) -> Result<Vec<String>, String> {
    let mut news = Vec::new();
    let findings = match findings {
        Ok(findings) => findings,
        Err(why) => {
            say(format_args!("{:<26}{BAD}FAILED{BAD:#}  {why}", plan.name))?;
            return Ok(vec![format!("{}: {why}", plan.name)]);
        }
    };
    let (mut ok, mut fails) = (0, 0);
    for row in &findings.rows {
        let (Outcome::Passed(observed)
        | Outcome::Failed(observed)
        | Outcome::NotApplicable(observed)) = &row.outcome;
        match expected.judge(&plan.name, row.check.id, &row.outcome) {
            Verdict::Ok => ok += 1,
            Verdict::NotApplicable => {}
            Verdict::FailsAsExpected(_) => fails += 1,
            Verdict::Failed => {
                let (id, wanted) = (row.check.id, row.check.expected);
                news.push(format!(
                    "{} fails {id}\n    expected  {wanted}\n    observed  {observed}",
                    plan.name
                ));
            }
            Verdict::FailureDidNotCome(why) => news.push(format!(
                "{} should fail {}: {why}\n    observed  {observed}",
                plan.name, row.check.id
            )),
        }
    }
    let style = if news.is_empty() { GOOD } else { BAD };
    say(format_args!(
        "{:<26}{ok:>2} ok, {fails:>2} fail as expected, {style}{} unexpected{style:#}  {:>5.1} s",
        plan.name,
        news.len(),
        from.elapsed().as_secs_f64()
    ))?;
    Ok(news)
}

/// Rows: the checks. Columns: the servers.
pub fn print(columns: &[Column], expected: &Expected) -> Result<(), String> {
    let titles: Vec<&str> = columns.iter().map(|(plan, _)| short(&plan.name)).collect();
    let widths: Vec<usize> = titles.iter().map(|title| title.len().max(3) + 2).collect();
    let mut line = format!("{:<14}", "check");
    for (title, width) in titles.iter().zip(&widths) {
        line += &format!("{title:>width$}");
    }
    say(format_args!("\n{line}"))?;
    let asked = |check: &&Check| {
        let runs = columns.iter().filter_map(|(_, findings)| findings.as_ref().ok());
        runs.flat_map(|findings| &findings.rows).any(|row| row.check.id == check.id)
    };
    for check in CHECKS.iter().filter(asked) {
        let mut line = format!("{:<14}", check.id);
        for ((plan, findings), width) in columns.iter().zip(&widths) {
            let rows = findings.as_ref().map_or(&[][..], |findings| &findings.rows);
            let row = rows.iter().find(|row| row.check.id == check.id);
            let (style, mark) = match row {
                None => (DIM, ""),
                Some(row) => match expected.judge(&plan.name, check.id, &row.outcome) {
                    Verdict::Ok => (GOOD, "ok"),
                    Verdict::NotApplicable => (DIM, "-"),
                    Verdict::FailsAsExpected(_) => (DIM, "x"),
                    Verdict::Failed => (BAD, "X!"),
                    Verdict::FailureDidNotCome(_) => (BAD, "ok!"),
                },
            };
            line += &format!("{style}{mark:>width$}{style:#}");
        }
        say(line)?;
    }
    say("ok passed   x fails, as expected   - not applicable   ! unexpected")?;
    say("\nWhat fails, and why:")?;
    for (plan, findings) in columns {
        let rows = findings.as_ref().map_or(&[][..], |findings| &findings.rows);
        let mut whys: Vec<(String, Vec<&str>)> = Vec::new(); // a reason, and the checks it fails
        for row in rows {
            let verdict = expected.judge(&plan.name, row.check.id, &row.outcome);
            let Verdict::FailsAsExpected(why) = verdict else { continue };
            match whys.iter_mut().find(|(known, _)| *known == why) {
                Some((_, checks)) => checks.push(row.check.id),
                None => whys.push((why, vec![row.check.id])),
            }
        }
        for (why, checks) in whys {
            say(format_args!("  {:<26}{}", plan.name, checks.join(", ")))?;
            say(format_args!("  {:<28}{DIM}{why}{DIM:#}", ""))?;
        }
    }
    Ok(())
}

/// `r01` of `r01_single_shot`.
fn short(name: &str) -> &str {
    let number = name.split('_').next().unwrap_or(name);
    if name.starts_with('r') && number.len() == 3 { number } else { name }
}
