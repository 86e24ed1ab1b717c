//! Every answer that the grader is tried on, in one program.
//!
//! `proof` lists them, one a line: exercise, answer, and the message that a wrong one has to get.
//! `proof EXERCISE ANSWER` grades one, as the exercise's own program would.

use std::env;
use std::process::ExitCode;

struct Answer {
    exercise: &'static str,
    /// `starter`, `solution`, or the mistake.
    name: &'static str,
    /// A part of the message, where it is a mistake.
    refused: &'static str,
    run: fn() -> ExitCode,
}

include!(concat!(env!("OUT_DIR"), "/answers.rs"));

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [exercise, name] = &args[..] else {
        for answer in ANSWERS {
            println!("{}\t{}\t{}", answer.exercise, answer.name, answer.refused);
        }
        return ExitCode::SUCCESS;
    };
    match ANSWERS.iter().find(|a| a.exercise == exercise && a.name == name) {
        Some(answer) => (answer.run)(),
        None => {
            eprintln!("no answer {name} to {exercise}: without arguments, proof lists them");
            ExitCode::from(2)
        }
    }
}
