//! Makes one program of all answers: each file becomes a module, whose `main` can be called.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let (mut modules, mut rows) = (String::new(), String::new());
    let mut kinds = vec![("exercises", "starter"), ("solutions", "solution")]
        .into_iter()
        .map(|(dir, kind)| (here.join("..").join(dir), kind))
        .collect::<Vec<_>>();
    kinds.extend(["right", "wrong"].map(|kind| (here.join(kind), kind)));
    for (dir, kind) in kinds {
        println!("cargo::rerun-if-changed={}", dir.display());
        for file in rust_files(&dir)? {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let (exercise, answer) = match kind {
                "starter" | "solution" => (stem, kind.to_string()),
                _ => {
                    let parent = file.parent().and_then(Path::file_name).unwrap_or_default();
                    (parent.to_string_lossy().into_owned(), stem)
                }
            };
            let text = fs::read_to_string(&file)?;
            let expected = text.lines().next().and_then(|l| l.strip_prefix("//! refused: "));
            let expected = expected.unwrap_or("\"\"").to_string();
            let module = format!("{exercise}__{answer}");
            let copy = out.join(format!("{module}.rs"));
            fs::write(
                &copy,
                format!("{text}\npub(crate) fn run() -> std::process::ExitCode {{ main() }}\n"),
            )?;
            // Wrong answers are written as learners write them, without notes and for no linter.
            let _ = writeln!(
                modules,
                "#[allow(warnings, clippy::all, clippy::undocumented_unsafe_blocks)]\n\
                 #[path = {copy:?}]\nmod {module};"
            );
            let _ = writeln!(
                rows,
                "Answer {{ exercise: {exercise:?}, name: {answer:?}, kind: {kind:?}, \
                 refused: {expected}, run: {module}::run }},"
            );
        }
    }
    let table = format!("{modules}\nconst ANSWERS: &[Answer] = &[\n{rows}];\n");
    fs::write(out.join("answers.rs"), table)
}

/// The files in the directories of `dir`, in order.
fn rust_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            for file in fs::read_dir(path)? {
                files.push(file?.path());
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "rs"));
    files.sort();
    Ok(files)
}
