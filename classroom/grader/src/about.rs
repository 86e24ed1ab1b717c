//! The exercises: where each stands, and what is not examined in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use say::say;

/// Set in the environment of the child.
pub(crate) const CHILD: &str = "GRADER_CHILD";

/// What takes so long hangs, on whatever machine. It is no measure of anything else.
pub const HANG: Duration = Duration::from_secs(60);

/// An exercise, and where to read on.
#[derive(Debug)]
pub struct About {
    /// The function to write, which is also the file's name.
    pub name: &'static str,
    /// The directory under `classroom/exercises`.
    pub dir: &'static str,
    /// How many cases there are: what an answer that cannot be run gets no point of.
    pub cases: usize,
    /// The article's section.
    pub section: &'static str,
    /// The man page.
    pub man: &'static str,
    /// An example that shows it.
    pub example: &'static str,
    /// What is not examined, and why.
    pub except: &'static [(Rule, &'static str)],
}

/// What is looked at in every exercise, unless it says why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It does not return while the peer is silent, however long.
    OwnTime,
    /// No memory is kept once a call has returned, but for what it returned.
    Memory,
    /// O_NONBLOCK of what it was lent stays as it is, also meanwhile, as all other settings do.
    NonBlocking,
}

impl About {
    /// The file to write in, in `classroom`.
    pub fn file(&self) -> PathBuf {
        Path::new("exercises").join(self.dir).join(self.name).with_extension("rs")
    }

    /// Where that is missing: how it comes back.
    pub fn missing(&self, classroom: &Path) -> Option<String> {
        let (place, file) = (self.file(), Path::new("classroom").join(self.file()));
        let file = file.display();
        (!classroom.join(place).exists())
            .then(|| say!("{file} is missing: git restore {file} brings the last commit's back"))
    }

    /// Whether it is examined in this.
    pub fn keeps(&self, rule: Rule) -> bool {
        !self.except.iter().any(|(other, _)| *other == rule)
    }
}

macro_rules! exercises {
    ($($name:ident: $dir:literal, $cases:literal, $section:literal, $man:literal, $example:literal
       $(=> $($rule:ident: $why:literal),+)?;)*)
        => {
        /// Every exercise, in the order of the set: the number of cases, the article's section,
        /// the man pages, an example, and what is not examined, with the reason.
        pub const ALL: &[About] = &[$(About {
            name: stringify!($name),
            dir: $dir,
            cases: $cases,
            section: $section,
            man: $man,
            example: $example,
            except: &[$($((Rule::$rule, $why)),+)?],
        }),*];
    };
}

exercises! {
    unique_fd: "01_unique_fd", 10, "7.1", "close(2)", "s07_unique_fd";
    recv_logged: "02_errno", 8, "1.3", "errno(3), recv(2)", "s01_short_read";
    resolve: "03_getaddrinfo", 6, "7.1", "getaddrinfo(3)", "s07_resolve";
    connect_to: "04_connect", 12, "7.1", "socket(2), connect(2)", "s07_resolve";
    listen_on: "05_listen", 11, "7.1", "bind(2), listen(2)", "s05_reuseaddr";
    send_all: "06_send_all", 11, "2.1", "send(2)", "s02_5_send_all";
    recv_exact: "07_recv_exact", 11, "2.1", "recv(2)", "s02_3_recv_exact";
    eintr: "08_eintr", 9, "10", "signal(7), accept(2), connect(2), close(2)", "s10_eintr";
    sigpipe: "09_sigpipe", 10, "12", "send(2), signal(7)", "s12_sigpipe";
    deadline: "10_deadline", 17, "2.2", "poll(2), recv(2)", "s02_7_deadline"
        => OwnTime: "the deadline is its subject";
    length_prefix: "11_length_prefix", 19, "3.1", "send(2), recv(2)", "s03_length_prefix";
    lines: "12_lines", 16, "3.2", "recv(2)", "s03_2_line_reader"
        => Memory: "a reader keeps what has come";
    records: "13_records", 9, "3.3", "recv(2)", "s03_fixed_record";
    tlv: "14_tlv", 7, "3.4", "byteorder(3)", "s03_4_tlv";
    half_close: "15_half_close", 12, "5.2", "shutdown(2)", "s05_half_close";
    clean_end: "16_clean_end", 11, "6", "recv(2)", "s06_end_of_stream";
    gathered: "17_gathered", 11, "3.1 and 11", "sendmsg(2)", "s11_2_one_send";
    connect_deadline: "18_connect_deadline", 8, "2.2 and 4", "connect(2), poll(2)", "s04_connect_deadline"
        => OwnTime: "the deadline is its subject",
           NonBlocking: "O_NONBLOCK for a while is the usual way";
    poll_two: "19_poll_two", 9, "2.2 and 13", "poll(2)", "s07_2_article_silent_client"
        => NonBlocking: "O_NONBLOCK for a while is the usual way";
    graceful_end: "20_graceful_end", 11, "5 and 7", "poll(2), accept(2)", "s07_4_echo_survives";
}
