//! The stage: all that an example needs and that is not its concept.
//!
//! [`pair`] runs the two roles of an example against each other, each on a thread of its own;
//! [`solo`] runs an example without a peer. With `--role server|client --addr HOST:PORT` the same
//! program plays one role only, so that the two can be on different hosts.
//!
//! What a role sees it reports through [`Out`]. How it learns what the kernel is doing is in
//! [`kernel`].

#![deny(missing_docs)]

mod about;
pub mod article;
pub mod capture;
pub mod child;
pub mod claims;
mod eintr;
pub mod kernel;
pub mod memory;
mod options;
mod report;
mod run;
pub mod runner;
pub mod signals;
mod time;
pub mod trace;

pub use about::{About, At};
pub use child::with_child;
pub use eintr::{retry_eintr, set_timeout};
pub use report::{Out, Verdict, said, text};
pub use run::{pair, solo};
pub use time::{HANG, ms};
