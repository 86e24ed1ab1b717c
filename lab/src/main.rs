//! `lab`: the command.

fn main() {}
