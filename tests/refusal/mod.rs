//! Refusals: by a filter in front of the kernel, by the kernel itself, and of the echo program.

pub mod echo;
pub mod filter;
pub mod kernel;
