//! No program of the classroom is linked without the grader: an empty `main` passes nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let symbol = "main_has_to_call_grade_as_in_the_starter";
    // Asked for, so that it is taken out of the library; and given another name, for which it has to
    // be there.
    println!("cargo::rustc-link-arg-bins=-Wl,-u,{symbol},--defsym=graded={symbol}");
}
