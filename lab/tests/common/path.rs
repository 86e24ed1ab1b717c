//! How a command line calls a program whose directory may have blanks: by its bare name.

use std::ffi::OsString;
use std::path::Path;
use std::{env, iter};

/// The variable PATH, with this directory before all others.
pub fn path(first: &Path) -> OsString {
    let others = env::var_os("PATH");
    let dirs = iter::once(first.to_owned()).chain(others.iter().flat_map(env::split_paths));
    env::join_paths(dirs).expect("no directory has a colon in its name")
}
