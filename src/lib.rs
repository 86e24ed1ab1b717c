//! TCP stream I/O on raw system calls, to be read beside the article on it.
//!
//! Read from the bottom up. Each module uses only those above it in this table.
//!
//! | module | what it is | article | examples |
//! | --- | --- | --- | --- |
//! | [`fd`] | `UniqueFd`: a descriptor that closes itself | 7 | `s07_unique_fd` |
//! | [`addr`] | names to addresses and back | 7 | `s07_resolve` |
//! | [`sys`] | one function per system call | 1.2, 1.3 | `s01_*` |
//! | [`stream`] | `send_all`, `recv_exact`, and their deadline twins | 1.4, 1.5, 2 | `s02_*` |
//! | [`net`] | `listen_on`, `connect_to`, `accept` | 4, 5, 7 | `s04_*`, `s05_*`, `s07_*` |
//! | [`framing`] | messages out of a stream of bytes | 1.6, 3, 6 | `s03_*`, `s06_*` |
//!
//! `src/bin/echo.rs` is the article's program, built from them.
//!
//! Who decides what: `sys` reports what the kernel said, EINTR included, and decides nothing.
//! `stream` and `net` hold the loops, and with them the decisions: what to retry, when to stop.

#![deny(missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod addr;
pub mod fd;
pub mod framing;
pub mod net;
pub mod stream;
pub mod sys;

pub use addr::resolve;
pub use fd::UniqueFd;
pub use framing::length::{recv_frame, send_frame};
pub use net::{accept, connect_to, listen_on};
pub use stream::{recv_exact, send_all};
