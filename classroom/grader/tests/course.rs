//! What a teacher of a whole course relies on: `make grade` where something is wrong, and the
//! commands of `classroom/docs/course.md`, as they stand there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use grader::ALL;
use grader::grading::Report;

const RESULTS: [&str; 3] = ["grade.json", "grade.xml", "grade-github.json"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// An empty directory of the test's own.
fn dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir); // one of an earlier run
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// `grade` in a target of its own, where the results of another run are. Nothing can be built.
fn grade(target: &Path) -> Command {
    let program = target.join("debug/grade");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    // Not a copy: a program cannot be run while any process has it open for writing.
    fs::hard_link(env!("CARGO_BIN_EXE_grade"), &program).unwrap();
    leave_results(target);
    let mut grade = Command::new(program);
    grade.env("LANGUAGE", "en").env("CARGO", "false");
    grade
}

fn leave_results(target: &Path) {
    RESULTS.iter().for_each(|name| fs::write(target.join(name), "of an earlier run").unwrap());
}

fn results(target: &Path) -> Vec<String> {
    let read = |name: &&str| fs::read_to_string(target.join(name)).ok();
    RESULTS.iter().filter_map(read).collect()
}

/// The exit code, and what was said on standard error.
fn ended(out: &Output) -> (Option<i32>, String) {
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn what_cannot_be_built_has_0_points_of_as_many_as_the_starter() {
    let target = dir("not-built");
    let out = grade(&target).output().unwrap();
    assert_eq!(ended(&out), (Some(1), String::new()));
    let [json, xml, github] = results(&target).try_into().unwrap();
    let reports: Vec<Report> = serde_json::from_str(&json).unwrap();
    let github: serde_json::Value = serde_json::from_str(&github).unwrap();
    for (n, (report, about)) in reports.iter().zip(ALL).enumerate() {
        let points = (&*report.exercise, report.points, report.of);
        assert_eq!(points, (about.name, 0, about.cases));
        assert!(xml.contains(&format!("\"0/{}: it does not compile", about.cases)), "{xml}");
        assert_eq!(github["tests"][n]["max_score"], about.cases);
    }
    let all: usize = ALL.iter().map(|about| about.cases).sum();
    assert_eq!(github["max_score"], all);
    let table = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(table.contains("0 of 11  it does not compile"), "{table}");
}

#[test]
fn a_table_that_cannot_be_printed_is_one_line_and_a_failure() {
    let target = dir("full");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = ended(&grade(&target).stdout(full).output().unwrap());
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.starts_with("the table could not be printed (No space left"), "{said}");
    let results = results(&target);
    assert!(results.len() == 3 && results.iter().all(|text| text.contains("does not compile")));
}

#[test]
fn where_nothing_is_graded_nothing_is_left() {
    let names: Vec<&str> = ALL.iter().map(|about| about.name).collect();
    let refused = [
        (["--skip", &names.join(" ")], "every exercise is left out: there is nothing to grade\n"),
        (["--skip", "tlv lnes"], "there is no exercise lnes\n"),
        (["--only", "tlv"], "this grades all of them; one alone: make exercise EX=tlv\n"),
    ];
    for (n, (args, line)) in refused.into_iter().enumerate() {
        let target = dir(&format!("refused-{n}"));
        let out = grade(&target).args(args).output().unwrap();
        assert_eq!(ended(&out), (Some(2), line.to_owned()));
        assert_eq!(results(&target), [""; 0]);
    }
}

/// `make`, that has a target of its own, and a cargo that fails.
fn make(dir: &Path, args: &[&str]) -> Output {
    let mut make = Command::new("make");
    make.arg("-f").arg(root().join("Makefile")).args(["CARGO=false"]).args(args);
    // Of the make that runs the tests it knows nothing.
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"] {
        make.env_remove(name);
    }
    make.current_dir(dir).env("CARGO_TARGET_DIR", dir.join("a target"));
    make.output().unwrap()
}

#[test]
fn a_grader_that_is_not_built_leaves_nothing_of_an_earlier_run() {
    let here = dir("make");
    let target = here.join("a target");
    fs::create_dir(&target).unwrap();
    leave_results(&target);
    assert_eq!(make(&here, &["grade"]).status.code(), Some(2));
    assert_eq!(results(&target), [""; 0]);
}

#[test]
fn the_exercises_are_listed_also_where_their_files_are_gone() {
    let here = dir("listed");
    fs::create_dir(here.join("classroom")).unwrap();
    fs::copy(root().join("classroom/Cargo.toml"), here.join("classroom/Cargo.toml")).unwrap();
    let out = make(&here, &["exercise"]);
    let (_, said) = ended(&out);
    assert!(!said.contains("cannot access"), "{said}");
    let listed = String::from_utf8(out.stdout).unwrap();
    let listed: Vec<&str> = listed.trim().rsplit(": ").next().unwrap().split(' ').collect();
    assert_eq!(listed, ALL.iter().map(|about| about.name).collect::<Vec<_>>());
}

#[test]
fn a_missing_file_concerns_its_own_exercise_only() {
    let classroom = dir("missing");
    for place in ["info.toml", "exercises/06_send_all/send_all.rs"] {
        let file = classroom.join(place);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(root().join("classroom").join(place), file).unwrap();
    }
    let tasks = |language: &str, exercise: &str| {
        let mut tasks = Command::new(env!("CARGO_BIN_EXE_tasks"));
        let tasks = tasks.arg(&classroom).arg(exercise).env("LANGUAGE", language);
        ended(&tasks.output().unwrap())
    };
    let file = "classroom/exercises/14_tlv/tlv.rs";
    let english = format!("{file} is missing: git restore {file} brings the last commit's back\n");
    let korean = format!("{file} 파일이 없다: git restore {file} 명령으로");
    for language in ["en", "ko", "C"] {
        assert_eq!(tasks(language, "send_all"), (Some(0), String::new()), "{language}");
        let (code, said) = tasks(language, "tlv");
        assert!(code == Some(1) && said.lines().count() == 1, "{language}: {said}");
        assert!(said.starts_with(if language == "ko" { &korean } else { &english }), "{said}");
    }
}

/// The first block of `course.md` that has this in it.
fn block(part: &str) -> String {
    let text = fs::read_to_string(root().join("classroom/docs/course.md")).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let block = blocks.filter_map(|block| block.split_once('\n')).find(|(_, b)| b.contains(part));
    block.unwrap_or_else(|| panic!("no block has {part}")).1.to_owned()
}

/// A directory with a `make` in it that grades in a simpler way: what stands in the exercises is
/// the result, and where one says "broken" it does not come so far.
fn with_make(name: &str) -> PathBuf {
    let here = dir(name);
    fs::create_dir_all(here.join("bin")).unwrap();
    fs::create_dir_all(here.join("target")).unwrap();
    let make = here.join("bin/make");
    let script = "#!/bin/sh\nrm -f target/grade*.json\n! grep -rq broken classroom || exit 2\n\
                  cat classroom/exercises/*/*.rs | tee target/grade.json >target/grade-github.json\n\
                  exit 2\n";
    fs::write(&make, script).unwrap();
    fs::set_permissions(make, fs::Permissions::from_mode(0o755)).unwrap();
    here
}

/// Runs it where `make` is the simpler one.
fn run(here: &Path, shell: &[&str], script: &str) -> Output {
    let path = format!("{}:{}", here.join("bin").display(), std::env::var("PATH").unwrap());
    let mut run = Command::new(shell[0]);
    let run = run.args(&shell[1..]).arg("-c").arg(script).current_dir(here).env("PATH", path);
    run.env("GITHUB_OUTPUT", here.join("output")).env_remove("GIT_DIR").output().unwrap()
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn no_student_gets_the_points_of_another() {
    let here = with_make("students");
    let exercises = here.join("classroom/exercises");
    write(&exercises.join("1/one.rs"), "starter 1\n");
    write(&exercises.join("2/two.rs"), "starter 2\n");
    let git = run(&here, &["sh"], "git init -q && git add classroom");
    assert!(git.status.success(), "{git:?}");
    for (place, text) in [
        ("a b/classroom/exercises/1/one.rs", "of a\n"),
        ("a b/classroom/exercises/2/two.rs", "of a\n"),
        ("a b/classroom/exercises/3/more.rs", "of a\n"),
        ("c/classroom/exercises/1/one.rs", "of c\n"),
        ("d/README.md", "no exercises\n"),
        ("e/classroom/exercises/2/two.rs", "broken\n"),
        ("f/classroom/exercises/2/two.rs", "of f\n"),
    ] {
        write(&here.join("submissions").join(place), text);
    }
    for name in ["d", "e"] {
        write(&here.join(format!("points-{name}.json")), "of last week");
    }
    run(&here, &["sh"], &block("submissions/"));
    let points = |name: &str| fs::read_to_string(here.join(format!("points-{name}.json"))).ok();
    assert_eq!(points("a b").as_deref(), Some("of a\nof a\nof a\n"));
    assert_eq!(points("c").as_deref(), Some("of c\nstarter 2\n"));
    assert_eq!(points("d"), None);
    assert_eq!(points("e"), None);
    assert_eq!(points("f").as_deref(), Some("starter 1\nof f\n"));
    assert_eq!(fs::read_to_string(exercises.join("2/two.rs")).unwrap(), "starter 2\n");
}

#[test]
fn the_workflow_tells_the_result_of_this_run_or_fails() {
    let workflow = block("name: Autograding");
    let (_, command) = workflow.split_once("run: |\n").unwrap();
    let command: Vec<&str> =
        command.lines().map_while(|line| line.strip_prefix("          ")).collect();
    let command = command.join("\n");
    assert!(command.starts_with("make grade") && command.contains("GITHUB_OUTPUT"), "{command}");
    let here = with_make("workflow");
    let (answer, result) = (here.join("classroom/exercises/1/one.rs"), here.join("output"));
    write(&answer, "an answer");
    let shell = ["bash", "-e"];
    assert!(run(&here, &shell, &command).status.success());
    assert_eq!(fs::read_to_string(&result).unwrap(), "result=YW4gYW5zd2Vy\n");
    // What is left of that run is not told once more.
    fs::remove_file(&result).unwrap();
    write(&answer, "broken");
    assert!(!run(&here, &shell, &command).status.success() && !result.exists());
}
