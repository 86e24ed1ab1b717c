//! Why the same bytes go faster, a step at a time. Each module is short, and what it does
//! otherwise than the one before it is its lesson. `make bench` prints what each step buys.
//!
//! Frames one way. Where a module has no `send` or no `receive`, that half is the earlier one's.
//!
//! | step | what is new |
//! | --- | --- |
//! | [`frames_1_two_sends`] | the article's frame: two sends and two receives |
//! | [`frames_2_one_sendmsg`] | header and payload leave in one call |
//! | [`frames_3_many_a_send`] | many frames leave in one call |
//! | [`frames_4_many_a_recv`] | many frames arrive in one call, and are lent |
//! | [`frames_5_whole_segments`] | a batch ends where a segment ends |
//! | [`frames_6_try_again`] | the reader tries again before it sleeps |
//!
//! Lines one way.
//!
//! | step | what is new |
//! | --- | --- |
//! | [`lines_1_byte_by_byte`] | the article's line: a receive a byte |
//! | [`lines_2_buffer`] | many lines arrive in one call |
//! | [`lines_3_one_pass`] | `memchr` finds the end, and the line is lent |
//!
//! Requests, each of which waits for its answer.
//!
//! | step | what is new |
//! | --- | --- |
//! | [`trips_1_two_sends`] | the article's frame, both ways |
//! | [`trips_2_nodelay`] | the payload does not wait for an acknowledgement |
//! | [`trips_3_one_send`] | header and payload leave in one call |
//! | [`trips_4_spinning`] | the reader tries for half a millisecond before it sleeps |
//!
//! [`batch`](crate::batch) and [`line`](mod@crate::line) are the last steps with what a program needs
//! besides: deadlines, a cap, errors that stay, memory that follows what arrives.

pub mod frames_1_two_sends;
pub mod frames_2_one_sendmsg;
pub mod frames_3_many_a_send;
pub mod frames_4_many_a_recv;
pub mod frames_5_whole_segments;
pub mod frames_6_try_again;
pub mod lines_1_byte_by_byte;
pub mod lines_2_buffer;
pub mod lines_3_one_pass;
pub mod trips_1_two_sends;
pub mod trips_2_nodelay;
pub mod trips_3_one_send;
pub mod trips_4_spinning;
