//! What the echo servers of the ladder share: the suite that all of them go through.

pub mod conformance;
