//! Programs that try to pass without an answer, or to do harm: each is built as a learner's is, and
//! run as `make exercise` and as `make grade` run it. The two have to agree.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use grader::grading::{LONGEST, Report, judge};

/// One program, after it has been run both ways.
struct Run {
    passed: bool,
    printed: String,
    report: Report,
    program: PathBuf,
}

/// Where cargo puts the programs of the workspace; what the attempts need has been built there.
fn debug() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_proof")).parent().unwrap()
}

/// A package like the classroom's own.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let classroom = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("attempts");
        fs::create_dir_all(&package).unwrap();
        // A string of JSON is one of TOML.
        let quoted = |path: &Path| serde_json::to_string(path).unwrap();
        let mut manifest = format!(
            "[package]\nname = \"attempts\"\nedition = \"2024\"\nautobins = false\n[workspace]\n\
             [profile.dev]\ndebug = \"line-tables-only\"\nincremental = false\n\
             [profile.dev.package.\"*\"]\ndebug = false\n\
             [dependencies]\nlibc = \"0.2\"\ngrader = {{ path = {} }}\n",
            quoted(&classroom.join("grader"))
        );
        for entry in fs::read_dir(classroom.join("proof/attempts")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let path = quoted(&path);
            manifest += &format!("[[bin]]\nname = \"attempt-{name}\"\npath = {path}\n");
        }
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        fs::copy(classroom.join("build.rs"), package.join("build.rs")).unwrap();
        fs::copy(classroom.with_file_name("Cargo.lock"), package.join("Cargo.lock")).unwrap();
        package
    })
}

/// Builds all of them, and has all that can be linked; what the compiler and the linker say.
fn said() -> &'static str {
    static SAID: OnceLock<String> = OnceLock::new();
    SAID.get_or_init(|| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .args(["build", "-q", "--offline", "--keep-going", "--manifest-path"])
            .arg(package().join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", debug().parent().unwrap())
            .env_remove("RUSTC_BOOTSTRAP") // or what depends on it is built anew
            .env_remove("RUSTC_WORKSPACE_WRAPPER") // nobody lints what attacks
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stderr).into_owned()
    })
}

/// Built, and under the name that the grader knows an exercise by.
fn built(name: &str) -> PathBuf {
    assert!(!said().contains(&format!("attempt-{name}")), "{}", said());
    let dir = package().join(name);
    let program = dir.join("send_all");
    fs::create_dir_all(&dir).unwrap();
    let _ = fs::remove_file(&program); // one of an earlier run
    // Not a copy: a program cannot be run while any process has it open for writing.
    fs::hard_link(debug().join(format!("attempt-{name}")), &program).unwrap();
    program
}

fn run(name: &str) -> Run {
    let program = built(name);
    let out =
        Command::new(&program).env_remove("GRADER_REPORT").env("LANGUAGE", "en").output().unwrap();
    let about = grader::ALL.iter().find(|about| about.name == "send_all").unwrap();
    let report = judge(about, &program, LONGEST).unwrap();
    let passed = out.status.success();
    let printed = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert_eq!(passed, report.points == report.of, "{name}: {report:?}\n{printed}");
    Run { passed, printed, report, program }
}

/// Is refused, with this in the verdict and, where there is one, in the report.
fn refused(name: &str, message: &str) -> Run {
    let run = run(name);
    assert!(!run.passed && run.printed.contains(message), "{name}: {}", run.printed);
    run
}

#[test]
fn no_program_passes_without_a_verdict() {
    let said = said();
    assert!(said.contains("main_has_to_call_grade_as_in_the_starter"), "{said}");
    assert!(said.contains("could not compile `attempts` (bin \"attempt-empty_main\")"), "{said}");
    for name in ["exits", "exits_at_once"] {
        let run = refused(name, "this has not been graded: main has to call grade");
        let Report { points, of, reason, .. } = &run.report;
        assert!((*points, *of) == (0, 11) && !reason.is_empty(), "{:?}", run.report);
    }
    refused("another_verdict", "main asks for a verdict on recv_exact, and this is send_all");
    refused("verdict_dropped", "it returned Ok before all was sent");
    refused("failure_told", "cases pass");
}

#[test]
fn a_verdict_that_cannot_be_printed_is_one_line_and_a_failure() {
    let program = built("prints_100_mb");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let out = Command::new(program).env("LANGUAGE", "en").stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("could not be")).collect();
    assert_eq!(out.status.code(), Some(1));
    assert!(lines.len() == 1 && !said.contains("panicked"), "{lines:?}");
}

#[test]
fn what_an_answer_starts_ends_with_it() {
    let run = refused("starts_a_process", "has started a process that is still there");
    let left: Vec<_> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path().join("exe")).ok())
        .filter(|exe| *exe == run.program)
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_main_that_never_returns_is_ended() {
    let program = built("never_returns");
    let about = grader::ALL.iter().find(|about| about.name == "send_all").unwrap();
    let report = judge(about, &program, Duration::from_secs(1)).unwrap();
    assert!(report.points == 0 && report.reason.contains('0'), "{report:?}");
}

#[test]
fn a_stopped_process_does_not_run_in_circles() {
    refused("stops_itself", "the process was stopped in your send_all: a signal did that");
}

#[test]
fn memory_has_a_limit() {
    refused("takes_memory", "takes more than 512 MiB of memory");
    refused("takes_memory_of_libc", "OutOfMemory");
}

#[test]
fn of_100_mb_of_output_the_beginning_is_shown() {
    let run = run("prints_100_mb");
    assert!(run.passed && run.printed.contains("bytes more that it printed"), "{}", run.passed);
    assert!(run.printed.len() < 1 << 20, "{} bytes", run.printed.len());
}

#[test]
fn a_panic_points_at_the_learners_line() {
    let run = refused("panics_in_std", "your send_all panicked at ");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("attempts/panics_in_std.rs");
    let source = fs::read_to_string(source).unwrap();
    let line = 1 + source.lines().position(|line| line.contains("// HERE")).unwrap();
    assert!(run.printed.contains(&format!("panics_in_std.rs:{line}")), "{}", run.printed);
}
