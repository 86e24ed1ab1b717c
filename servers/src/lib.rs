//! What the rungs of the echo server share, and what measures and checks them.
//!
//! Each rung is a program of its own in `src/bin`: read them in order, each beside the one before.
//!
//! | module | what it is | used by |
//! | --- | --- | --- |
//! | [`start`] | the command line, the listening socket, signals, the end | every rung |
//! | [`log`] | a log that waits for nobody | every rung |
//! | [`wait`] | EINTR and timeouts | `r05` on |
//! | [`conn`] | a connection that never waits: parts of frames in and out | `r06` on |
//! | [`epoll`] | one function per system call, as in the reference's `sys` | `r06` on |
//! | [`rungs`] | the list of them | `make servers` |
//! | [`load`], [`process`] | the load, and the program that bears it | `make servers` |
//! | [`outside`] | what the kernel tells of another process | the suite, the tests |
//! | [`attack`] | the rungs under attack, judged by their headers | `make attack` |
//! | [`usage`] | their command lines | `make servers`, `make conformance` |
//! | [`conformance`] | the suite that every echo server goes through | `make conformance` |

pub mod attack;
pub mod conformance;
pub mod conn;
pub mod epoll;
pub mod load;
pub mod log;
pub mod outside;
pub mod process;
pub mod rungs;
pub mod start;
pub mod usage;
pub mod wait;
