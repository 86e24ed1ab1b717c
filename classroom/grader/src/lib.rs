//! Grades an exercise with the real kernel.
//!
//! `grade` runs the same program a second time. In that child the answer is called, on sockets
//! that the parent hands over; the parent is the peer. So an answer may panic, hang, exit, leak or
//! be killed by a signal, and the parent can say which.
//!
//! Each module says what its job is in its first line. Those of the second list are the exercises:
//! what is asked, the cases, and what its mistakes are called.

pub mod about;
pub mod alloc;
pub mod beside;
pub mod calls;
pub mod child;
pub mod course;
pub mod denied;
pub mod examination;
pub mod grading;
pub mod huge;
pub mod inside;
pub mod kernel;
pub mod language;
pub mod paragraphs;
pub mod peer;
pub mod play;
pub mod prelude;
pub mod refusal;
pub mod said;
pub mod verdict;
mod wire;

pub mod clean_end;
pub mod connect_deadline;
pub mod connect_to;
pub mod deadline;
pub mod eintr;
pub mod errno;
pub mod gathered;
pub mod graceful_end;
pub mod half_close;
pub mod length_prefix;
pub mod lines;
pub mod listen_on;
pub mod poll_two;
pub mod records;
pub mod recv_exact;
pub mod resolve;
pub mod send_all;
pub mod sigpipe;
pub mod tlv;
pub mod unique_fd;

pub use about::ALL;
pub use inside::yours;
