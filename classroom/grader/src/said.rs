//! What a call of the answer came to: made in the child, judged in the parent.

use std::io;
use std::os::fd::RawFd;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inside::{After, Failure, Given, observe};
use crate::refusal::{Refusal, Verdict, judge};

/// No descriptor of the child's has this number.
pub const NOT_OPEN: RawFd = 150;

/// What a call came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Said<X = Value> {
    /// `Ok(…)` in few words, as code and in no language: it is compared. Or the error.
    pub result: Result<String, Failure>,
    /// What it returned, or wrote into the buffer.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// What else the exercise looks at.
    pub more: X,
    /// How it left the process.
    pub after: After,
}

/// What is told of a call that returns nothing but Ok.
pub fn ok(_: ()) -> (String, Vec<u8>) {
    ("Ok".into(), Vec::new())
}

impl Given {
    /// The last of the given descriptors; where none was given, one that is not open.
    pub fn fd(&self) -> RawFd {
        self.fds.last().copied().unwrap_or(NOT_OPEN)
    }

    /// Calls the answer, whatever it returns.
    pub fn watch<T>(&self, call: impl FnOnce() -> T) -> (T, Said<()>) {
        let (value, after) = observe(&self.fds, call);
        (value, Said { result: Ok("Ok".into()), bytes: Vec::new(), more: (), after })
    }

    /// Calls the answer, and tells what it returned.
    pub fn call<T>(
        &self,
        call: impl FnOnce() -> io::Result<T>,
        tell: impl FnOnce(T) -> (String, Vec<u8>),
    ) -> Said<()> {
        let (result, said) = self.watch(call);
        match result.map(tell) {
            Ok((text, bytes)) => Said { result: Ok(text), bytes, ..said },
            Err(e) => Said { result: Err(e.into()), ..said },
        }
    }
}

impl Said<()> {
    /// And this, too.
    pub fn with<X>(self, more: X) -> Said<X> {
        let Said { result, bytes, after, .. } = self;
        Said { result, bytes, more, after }
    }
}

impl<X> Said<X> {
    /// To be compared: `Ok(None)`, `Err(UnexpectedEof)`; an error of the kernel by its number's
    /// name, `Err(ECONNRESET)`.
    pub fn text(&self) -> String {
        match &self.result {
            Ok(text) => text.clone(),
            Err(Failure { errno: Some(errno), .. }) => {
                format!("Err({:?})", Errno::from_raw(*errno))
            }
            Err(Failure { kind, .. }) => format!("Err({kind})"),
        }
    }

    /// For a message: as the learner would print it.
    pub fn shown(&self) -> String {
        self.result.clone().unwrap_or_else(|e| e.shown())
    }

    /// The kind of its error, or nothing.
    pub fn kind(&self) -> &str {
        self.result.as_ref().err().map_or("", |e| &e.kind)
    }

    /// The errno of its error, or 0.
    pub fn errno(&self) -> i32 {
        self.result.as_ref().err().and_then(|e| e.errno).unwrap_or(0)
    }

    /// It is an error of the kernel's, and has lost its number.
    pub fn without_errno(&self) -> bool {
        self.result.as_ref().is_err_and(|e| e.without_errno())
    }

    /// Bytes that wait to be read from the last of the given descriptors.
    pub fn unread(&self) -> usize {
        self.after.unread.last().copied().unwrap_or(0)
    }

    /// How often a function of libc was called.
    pub fn calls(&self, name: &str) -> usize {
        self.after.calls.of(name)
    }

    /// Refuses what was said.
    pub fn refused(&self, mistake: impl Into<String>, expected: impl Into<String>) -> Refusal {
        Refusal::new(mistake).but(expected, self.shown())
    }

    /// The same where this is not so.
    pub fn ensure(
        &self,
        is_so: bool,
        mistake: impl Into<String>,
        expected: impl Into<String>,
    ) -> Verdict {
        if is_so { Ok(()) } else { Err(self.refused(mistake, expected)) }
    }

    /// The same where there is a mistake.
    pub fn judged(&self, mistake: impl Into<String>, expected: impl Into<String>) -> Verdict {
        judge(mistake, expected, self.shown())
    }
}

/// The bytes, and after them memory that is readable and not to be sent.
pub fn behind(bytes: &[u8]) -> Vec<u8> {
    let mut memory = vec![0x5a; 2 * bytes.len() + 4096];
    memory[..bytes.len()].copy_from_slice(bytes);
    memory
}

/// A buffer for the answer, with memory around it that is not to be written to.
pub struct Room(Vec<u8>);

impl Room {
    const GUARD: usize = 64;

    /// Of so many bytes.
    pub fn new(len: usize) -> Room {
        Room(vec![0xa5; len + 2 * Room::GUARD])
    }

    /// The buffer.
    pub fn buf(&mut self) -> &mut [u8] {
        let end = self.0.len() - Room::GUARD;
        &mut self.0[Room::GUARD..end]
    }

    /// Adds to what was said what is in the buffer, and whether anything was written beside it.
    pub fn told<X>(mut self, said: &mut Said<X>) {
        said.bytes = self.buf().to_vec();
        let end = self.0.len() - Room::GUARD;
        let around = self.0[..Room::GUARD].iter().chain(&self.0[end..]);
        said.after.outside = around.copied().any(|byte| byte != 0xa5);
    }
}
