//! A wrong answer, and a `main` that says success all the same.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _ = grader::send_all::grade(|_, _| Ok(()));
    ExitCode::SUCCESS
}
