//! Nothing at all.

fn main() {}
