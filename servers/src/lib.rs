//! What the rungs of the echo ladder share, and what measures them.
//!
//! Each rung is a program of its own in `src/bin`: read them in order, each beside the one before.
//!
//! | module | what it is | used by |
//! | --- | --- | --- |
//! | [`start`] | the command line, the listening socket, signals | every rung |
//! | [`conn`] | a connection that never waits: parts of frames in and out | `r06` on |
//! | [`epoll`] | one function per system call, as in the reference's `sys` | `r06` on |
//! | [`rungs`] | the list of them | `make ladder` |
//! | [`load`], [`server`] | the load, and the program that bears it | `make ladder` |

pub mod conformance;
pub mod conn;
pub mod epoll;
pub mod load;
pub mod rungs;
pub mod server;
pub mod start;

use std::time::Duration;

/// What takes so long hangs, on whatever machine. It is no measure of anything else.
pub const HANG: Duration = Duration::from_secs(60);
