//! Grades an exercise with the real kernel.
//!
//! `grade` runs the same program a second time. In that child the answer is called, on sockets
//! that the parent hands over; the parent is the peer. So an answer may panic, hang, exit, leak or
//! be killed by a signal, and the parent can say which.
//!
//! | module | its job |
//! | --- | --- |
//! | [`grading`] | the cases of an exercise one by one, and what is printed |
//! | [`child`] | the process that the answer runs in, seen from the parent |
//! | [`inside`] | the same process from the inside: calls the answer, and looks at what it left |
//! | [`kernel`] | what a process is doing: `/proc` |
//! | [`peer`] | the other end of a connection |
//! | [`beside`] | a second connection, which no answer has to touch |
//! | [`watch`] | what an answer changes while it runs |
//! | [`huge`] | more than 4 GiB of memory |
//! | [`refusal`] | what a learner reads when a case fails |
//! | [`alloc`], [`calls`] | count memory, and calls that leave no trace |
//!
//! Each other module is an exercise: its cases and nothing else.

pub mod alloc;
pub mod beside;
pub mod calls;
pub mod child;
pub mod grading;
pub mod huge;
pub mod inside;
pub mod kernel;
pub mod peer;
pub mod refusal;
pub mod watch;
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

pub use inside::yours;

use grading::About;

/// Every exercise, in the order of the set.
pub const ALL: &[&About] = &[
    &unique_fd::ABOUT,
    &errno::ABOUT,
    &resolve::ABOUT,
    &connect_to::ABOUT,
    &listen_on::ABOUT,
    &send_all::ABOUT,
    &recv_exact::ABOUT,
    &eintr::ABOUT,
    &sigpipe::ABOUT,
    &deadline::ABOUT,
    &length_prefix::ABOUT,
    &lines::ABOUT,
    &records::ABOUT,
    &tlv::ABOUT,
    &half_close::ABOUT,
    &clean_end::ABOUT,
    &gathered::ABOUT,
    &connect_deadline::ABOUT,
    &poll_two::ABOUT,
    &graceful_end::ABOUT,
];
