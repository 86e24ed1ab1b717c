//! The rungs, from the bottom up, and what `make servers` has to know of each.

/// One rung: a program in `src/bin`.
#[derive(Clone, Copy, Debug)]
pub struct Rung {
    /// The program's name.
    pub name: &'static str,
    /// Its one file, whole.
    pub source: &'static str,
    /// How many clients it can talk with at once; the others wait in the queue.
    pub at_once: usize,
    /// Whether a connection ends with its first answer.
    pub single_shot: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
}

macro_rules! rungs {
    ($($name:ident $(($field:ident: $value:expr))*)*) => {
        /// All of them.
        pub const RUNGS: &[Rung] = &[$(Rung {
            $($field: $value,)*
            ..Rung {
                name: stringify!($name),
                source: include_str!(concat!("bin/", stringify!($name), ".rs")),
                at_once: usize::MAX,
                single_shot: false,
                tls: false,
            }
        }),*];
    };
}

rungs! {
    r01_single_shot (at_once: 1) (single_shot: true)
    r02_many_frames (at_once: 1)
    r03_thread_per_connection
    r04_bounded_pool (at_once: 64)
    r05_poll
    r06_epoll
    r07_deadlines
    r08_graceful
    r09_tracing
    r10_tls (tls: true)
    r11_nix
    r12_socket2
    r13_std
    r14_tokio
    r15_io_uring
    r16_batched
}

/// Why this machine cannot run the rung of that name, if it cannot. man: io_uring_setup(2), EPERM.
pub fn not_here(name: &str) -> Option<String> {
    let ring = name.ends_with("_io_uring").then(|| io_uring::IoUring::new(2))?;
    ring.err().map(|e| format!("{name}: io_uring: {e}"))
}

impl Rung {
    /// The file's first line, without the name.
    pub fn title(&self) -> &'static str {
        let first = self.source.lines().next().unwrap_or_default();
        first.trim_start_matches("//!").trim().trim_start_matches(self.name).trim()
    }

    /// What its header says it adds, as far as the first full stop or colon.
    pub fn adds(&self) -> String {
        let header = self.source.lines().map_while(|line| line.strip_prefix("//!"));
        let header: Vec<&str> = header.map(str::trim).collect();
        let header = header.join(" ");
        let text = header.split_once("Adds: ").map_or("", |(_, text)| text);
        text.split(['.', ':']).next().unwrap_or_default().replace('`', "")
    }

    /// Lines that are neither blank nor comment.
    pub fn lines_of_code(&self) -> usize {
        lines_of_code(self.source)
    }
}

/// Lines that are neither blank nor comment.
pub fn lines_of_code(source: &str) -> usize {
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    source.lines().map(str::trim).filter(is_code).count()
}
