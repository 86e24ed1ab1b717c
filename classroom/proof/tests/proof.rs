//! Every wrong answer is refused with its own message, every solution and every other right answer
//! passes, every starter says whose it is to do. Four answers are graded at once:
//! most of an answer's time is waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::iter;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use grader::denied::Denied;
use grader::grading::{REPORT, Report};

const AT_ONCE: usize = 4;

const PROOF: &str = env!("CARGO_BIN_EXE_proof");

/// One line of `proof`: an answer, and a part of the message where it is wrong.
#[derive(Clone, Debug)]
struct Answer {
    exercise: String,
    name: String,
    kind: String,
    refused: String,
}

fn answers() -> Vec<Answer> {
    let listed = Command::new(PROOF).output().expect("proof runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let row = |line: &str| {
        let [exercise, name, kind, refused] =
            line.split('\t').map(String::from).collect::<Vec<_>>().try_into().expect("4 fields");
        Answer { exercise, name, kind, refused }
    };
    listed.lines().map(row).collect()
}

/// `PROOF_ONLY=send_all,lines cargo test -p proof` looks at these exercises alone.
fn of_kind(kind: &str) -> Vec<Answer> {
    let only = env::var("PROOF_ONLY").unwrap_or_default();
    let asked = |a: &Answer| only.is_empty() || only.split(',').any(|name| name == a.exercise);
    answers().into_iter().filter(|a| a.kind == kind && asked(a)).collect()
}

/// Grades one. The exit code is 0 for an answer that passes, and what was printed. What is told to
/// an autograder is the same.
fn grade(answer: &Answer, language: &str) -> (bool, String) {
    static GRADED: AtomicUsize = AtomicUsize::new(0); // the same one may be at work twice
    let (Answer { exercise, name, .. }, n) = (answer, GRADED.fetch_add(1, Relaxed));
    let file = format!("{}/{exercise}-{name}-{n}.json", env!("CARGO_TARGET_TMPDIR"));
    let mut proof = Command::new(PROOF);
    proof.args([exercise, name]).env(REPORT, &file).env("LANGUAGE", language);
    let out = proof.output().expect("proof runs");
    let text = [out.stdout, out.stderr].concat();
    let report = fs::read(&file).expect("a report");
    let _ = fs::remove_file(&file);
    let Report { points, of, reason, .. } = serde_json::from_slice(&report).expect("a report");
    if answer.kind == "starter" {
        // As many as an answer has that cannot be run.
        let about = grader::ALL.iter().find(|about| about.name == *exercise).expect("its name");
        assert_eq!((points, of), (0, about.cases), "{exercise}: its cases in about.rs");
    }
    let told = points == of && reason.is_empty();
    assert_eq!(told, out.status.success(), "{exercise} {name}: {points} of {of}, {reason}");
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Grades them a few at a time; what `complaint` says of each is a failure of the test.
fn grade_all(
    language: &str,
    answers: Vec<Answer>,
    complaint: impl Fn(&Answer, bool, &str) -> Option<String> + Sync,
) {
    assert!(!answers.is_empty() || env::var_os("PROOF_ONLY").is_some());
    let queue = Mutex::new(answers.into_iter());
    let complains = |answer: Answer| {
        let (passed, text) = grade(&answer, language);
        let why = complaint(&answer, passed, &text)?;
        Some(format!("{} {}: {why}\n{text}", answer.exercise, answer.name))
    };
    let work = || iter::from_fn(|| queue.lock().unwrap().next()).filter_map(complains).collect();
    let complaints: [Vec<String>; AT_ONCE] = thread::scope(|scope| {
        [(); AT_ONCE].map(|()| scope.spawn(work)).map(|worker| worker.join().unwrap())
    });
    let complaints = complaints.concat();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The sentence that names the mistake.
fn mistake(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.trim().strip_prefix("likely")).map(str::trim)
}

#[test]
fn wrong_answers_are_refused_by_name() {
    grade_all("en", [of_kind("wrong"), of_kind("again")].concat(), |answer, passed, text| {
        if passed {
            return Some("was not refused".into());
        }
        let found = mistake(text).is_some_and(|m| m.contains(&answer.refused));
        (!found).then(|| format!("the message should hold {:?}", answer.refused))
    });
}

/// Two English words in a row. What stands in parentheses is code, as commands and the message of a
/// panic are.
fn has_english(line: &str) -> bool {
    let mut depth = 0;
    let mut is_outside = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    };
    let bare: String = line.chars().filter(|&c| is_outside(c)).collect();
    let words: Vec<&str> = bare.split(' ').collect();
    let is_word = |word: &&str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase());
    let is_code = line.contains("make run") || line.contains("panic");
    !is_code && words.windows(2).any(|pair| pair.iter().all(is_word))
}

/// As a learner reads them who has chosen Korean: one of each exercise, and its solution.
/// `PROOF_KOREAN=all` looks at every wrong answer.
#[test]
fn verdicts_are_in_korean_where_that_is_chosen() {
    let mut answers = of_kind("wrong");
    if env::var_os("PROOF_KOREAN").is_none() {
        answers.dedup_by(|one, other| one.exercise == other.exercise);
    }
    answers.extend(of_kind("solution"));
    let is_hangul = |c: char| ('가'..='힣').contains(&c);
    grade_all("ko", answers, |answer, passed, text| {
        if passed != (answer.kind == "solution") {
            return Some("another verdict than in English".into());
        }
        // Bytes in hex, the values of an assertion that the answer makes, and Rust's own words where
        // the stack is at its end.
        let is_code = |line: &&str| {
            ["0", "left: ", "right: ", "thread 'main' (", "fatal runtime error"]
                .iter()
                .any(|of| line.starts_with(of))
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_code(line));
        let english: Vec<&str> =
            lines.filter(|line| !line.contains(is_hangul) || has_english(line)).collect();
        (!english.is_empty()).then(|| format!("this is not Korean: {english:?}"))
    });
}

#[test]
fn every_exercise_has_wrong_answers_with_messages_of_their_own() {
    let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for answer in of_kind("wrong") {
        let Answer { exercise, name, refused, .. } = answer;
        assert!(refused.len() > 12, "{exercise} {name}: it has no message");
        let all = messages.entry(exercise).or_default();
        for other in all.iter() {
            let alike = other.contains(&refused) || refused.contains(other.as_str());
            assert!(!alike, "{name}: {refused:?} is another answer's message, too");
        }
        all.insert(refused);
    }
    for solution in of_kind("solution") {
        let count = messages.get(&solution.exercise).map_or(0, BTreeSet::len);
        assert!(count >= 4, "{}: {count} wrong answers, at least 4 are needed", solution.exercise);
    }
}

/// `PROOF_TIMES=50 cargo test -p proof` has every solution pass 50 times. Without it once, and once
/// more where the verdicts are in Korean.
#[test]
fn solutions_pass_every_time() {
    let times = env::var("PROOF_TIMES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let solutions = of_kind("solution");
    let repeated = (0..times).flat_map(|_| solutions.clone()).collect();
    grade_all("en", repeated, |_, passed, _| (!passed).then(|| "a solution was refused".into()));
}

/// Answers that are right in another way than the solution.
#[test]
fn other_right_answers_pass() {
    grade_all("en", of_kind("right"), |_, passed, _| (!passed).then(|| "it is right".into()));
}

/// As in some containers: what needs a filter is skipped, and the rest is graded.
#[test]
fn without_seccomp_its_cases_are_skipped() {
    let none = Denied { call: libc::SYS_seccomp, only: None, errno: libc::EPERM };
    for exercise in ["connect_to", "listen_on", "eintr"] {
        let mut proof = Command::new(PROOF);
        proof.args([exercise, "solution"]).env("LANGUAGE", "en");
        // SAFETY: between fork and exec it makes system calls, and allocates as glibc allows.
        unsafe {
            proof.pre_exec(move || {
                none.from_here_on();
                Ok(())
            })
        };
        let out = proof.output().expect("proof runs");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("  skipped "), "{exercise}: {text}");
    }
}

#[test]
fn starters_say_whose_it_is_to_do() {
    grade_all("en", of_kind("starter"), |_, passed, text| {
        let asks = text.contains("not started yet: this is yours to do") && text.contains("open ");
        (passed || !asks).then(|| "a starter has to say that nothing has been written yet".into())
    });
}

/// What the learner begins with: in a solution `//> ` stands before what the starter has, and what
/// follows it, to `//<`, is the answer.
fn starter(solution: &str) -> String {
    let (mut starter, mut answer) = (String::new(), false);
    for line in solution.lines() {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        match text.get(..3) {
            Some("//<") => answer = false,
            Some("//>") => {
                answer = true;
                if let Some(text) = text.strip_prefix("//> ") {
                    starter += &format!("{indent}{text}\n");
                }
            }
            _ if answer => {}
            _ => starter += &format!("{line}\n"),
        }
    }
    starter
}

/// `make starters` writes them.
#[test]
fn starters_are_cut_out_of_the_solutions() {
    let classroom = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("exercises");
    for about in grader::ALL {
        let file = |dir: &str| classroom.with_file_name(dir).join(about.dir).join(about.name);
        let solution = fs::read_to_string(file("solutions").with_extension("rs")).unwrap();
        let exercise = file("exercises").with_extension("rs");
        if env::var_os("STARTERS").is_some_and(|what| what == "write") {
            fs::write(&exercise, starter(&solution)).unwrap();
        }
        let found = fs::read_to_string(&exercise).unwrap();
        assert!(found == starter(&solution), "{}: make starters", exercise.display());
    }
}

#[test]
fn every_exercise_has_a_starter_and_a_solution() {
    let of = |kind| of_kind(kind).into_iter().map(|a| a.exercise).collect::<BTreeSet<_>>();
    if env::var_os("PROOF_ONLY").is_some() {
        return;
    }
    let known = grader::ALL.iter().map(|about| about.name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(of("starter"), known);
    assert_eq!(of("solution"), known);
}
