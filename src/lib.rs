//! TCP stream I/O on raw system calls, to be read beside the article on it.
//!
//! | article | module | examples |
//! | --- | --- | --- |
//! | 1 partial writes and reads | [`sys`]: one function per system call | `s01_*` |
//! | 2 loops | [`stream`]: `send_all`, `recv_exact`, the same with a deadline | `s02_*` |
//! | 3 framing, 6 its end | [`framing`]: messages out of a stream of bytes | `s03_*`, `s06_*` |
//! | 4 handshake, 5 close | [`net::connect`], [`stream::lingering_close`] | `s04_*`, `s05_*` |
//! | 7 echo | [`fd`], [`addr`], [`net`]; `src/bin/echo.rs` | `s07_*` |
//!
//! ```text
//! framing ──► stream, fd          stage, classroom ──► src
//! net ──► addr, stream, sys, fd   examples, speed, tests ──► src, stage
//! stream ──► sys, fd              servers ──► src, speed
//! sys ──► addr, fd                lab ──► –
//! ```

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
