//! Grades an exercise with the real kernel.
//!
//! `grade` runs the same program a second time. In that child the answer is called, on sockets
//! that the parent hands over; the parent is the peer. So an answer may panic, hang, exit, leak or
//! be killed by a signal, and the parent can say which.
//!
//! | module | its job |
//! | --- | --- |
//! | [`about`] | the exercises: where each stands, and what is not examined |
//! | [`grading`] | the cases of an exercise one by one, and what is printed |
//! | [`course`] | for others to read: JUnit XML, GitHub Classroom |
//! | [`examination`] | the peer's moves, which all that receive or send have to stand |
//! | [`play`] | a list of such moves, and who makes them |
//! | [`child`] | the process that the answer runs in, seen from the parent |
//! | [`inside`] | the same process from the inside: calls the answer, and looks at what it left |
//! | [`said`] | what a call came to |
//! | [`kernel`] | what a process is doing: `/proc` |
//! | [`peer`] | the other end of a connection |
//! | [`beside`] | a second connection, which no answer has to touch; the clients of a server |
//! | [`verdict`] | no program passes without one |
//! | [`huge`] | more than 4 GiB of memory |
//! | [`language`] | Korean, where the learner reads it |
//! | [`paragraphs`] | the comments of a task |
//! | [`refusal`] | what a learner reads when a case fails |
//! | [`alloc`], [`calls`] | count memory, and calls that leave no trace |
//! | [`prelude`] | what nearly every exercise takes of these |
//!
//! Each other module is an exercise: what is asked, the cases, and what its mistakes are called.

pub mod about;
pub mod alloc;
pub mod beside;
pub mod calls;
pub mod child;
pub mod course;
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
