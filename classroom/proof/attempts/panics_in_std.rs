//! A panic in the standard library, for something that stands here.

use std::process::ExitCode;

fn main() -> ExitCode {
    grader::send_all::grade(|_, buf| {
        let step = buf.len() - buf.len();
        buf.iter().step_by(step).for_each(drop); // HERE
        Ok(())
    })
}
