//! Which source files are the program's own: those that are there to be read, wherever they lie,
//! but for what belongs to the system, to a compiler or to a package manager.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The files that were asked for.
pub struct Own {
    here: PathBuf,
    /// Where cargo keeps what it has fetched.
    cargo: Option<PathBuf>,
    /// By the name in the debug information; `None`: not one of the program's own.
    known: HashMap<String, Option<Rc<str>>>,
}

impl Own {
    pub fn new() -> Own {
        let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
        Own { here: env::current_dir().unwrap_or_default(), cargo, known: HashMap::new() }
    }

    /// The file's name for the reader, if it is one of the program's own: from the current
    /// directory on if it lies there, else the whole path.
    pub fn name(&mut self, file: &str) -> Option<Rc<str>> {
        if let Some(name) = self.known.get(file) {
            return name.clone();
        }
        let name = self.find(Path::new(file));
        self.known.insert(file.to_owned(), name.clone());
        name
    }

    fn find(&self, file: &Path) -> Option<Rc<str>> {
        // Without links and `..`; an error: the file is not on this machine.
        let path = fs::canonicalize(file).ok().filter(|path| path.is_file())?;
        if self.is_foreign(file) || self.is_foreign(&path) {
            return None;
        }
        Some(path.strip_prefix(&self.here).unwrap_or(&path).to_str()?.into())
    }

    fn is_foreign(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        let of_the_system = path.starts_with("/usr")
            && !path.starts_with("/usr/src")
            && !path.starts_with("/usr/local/src");
        let fetched = self.cargo.as_ref().is_some_and(|cargo| {
            path.starts_with(cargo.join("registry")) || path.starts_with(cargo.join("git"))
        });
        let places = ["/.cargo/registry/", "/.cargo/git/", "/rustlib/src/", "/pkg/mod/"];
        of_the_system
            || fetched
            || path.starts_with("/rustc")
            || places.iter().any(|place| text.contains(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_owns_what_is_there_and_nobody_elses() {
        let mut own = Own::new();
        let here = env::current_dir().unwrap();
        let this = here.join("src/../src/tracer/own.rs");
        assert_eq!(own.name(this.to_str().unwrap()).as_deref(), Some("src/tracer/own.rs"));
        assert_eq!(own.name(here.join("src/none.rs").to_str().unwrap()), None);
        assert_eq!(own.name(here.join("src").to_str().unwrap()), None);
        for path in [
            "/rustc/0123/library/std/src/net/tcp.rs",
            "/usr/include/stdio.h",
            "/home/me/.cargo/registry/src/index/nix-1.0.0/src/lib.rs",
            "/home/me/.rustup/toolchains/stable/lib/rustlib/src/rust/library/core/src/lib.rs",
            "/root/go/pkg/mod/net@v1.0.0/a.go",
        ] {
            assert!(own.is_foreign(Path::new(path)), "{path}");
        }
        for path in ["/usr/src/app/server.c", "/home/me/server.c", "/tmp/usr/a.c"] {
            assert!(!own.is_foreign(Path::new(path)), "{path}");
        }
    }
}
