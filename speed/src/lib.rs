//! Frames and lines, many a system call. The bytes on the wire are those of the reference.
//!
//! | module | what it has | the reference's |
//! | --- | --- | --- |
//! | [`batch`] | [`FrameWriter`](batch::FrameWriter), [`FrameReader`](batch::FrameReader) | `framing::length` |
//! | [`line`](mod@line) | [`LineReader`](line::LineReader) | `framing::line` |
//! | [`gather`] | two buffers in one `sendmsg` | |
//! | [`steps`] | how one gets there, a whole short program a step | |
//!
//! `src/bench` measures them beside the article's design and the usual crates: `make bench`.
//!
//! ```text
//! steps ──► batch, line, gather
//! batch ──► inbox, gather, failed
//! line ──► inbox, failed
//! inbox ──► failed
//! ```

pub mod batch;
mod failed;
pub mod gather;
mod inbox;
pub mod line;
pub mod steps;
