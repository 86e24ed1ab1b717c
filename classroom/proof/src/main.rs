//! Every answer that the grader is tried on, in one program.
//!
//! `proof` lists them, one a line: exercise, answer, kind, and the message that a wrong one has to
//! get.
//! `proof EXERCISE ANSWER` grades one, as the exercise's own program would.

use std::env;
use std::process::ExitCode;

struct Answer {
    exercise: &'static str,
    /// `starter`, `solution`, the mistake, or what is unusual in it.
    name: &'static str,
    /// `starter`, `solution`, `wrong`, `right`; `again`: a mistake that stands here already.
    kind: &'static str,
    /// A part of the message, where it is a mistake.
    refused: &'static str,
    run: fn() -> ExitCode,
}

include!(concat!(env!("OUT_DIR"), "/answers.rs"));

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [exercise, name] = &args[..] else {
        for answer in ANSWERS {
            let Answer { exercise, name, kind, refused, .. } = answer;
            println!("{exercise}\t{name}\t{kind}\t{refused}");
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
