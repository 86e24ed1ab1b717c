//! One conformance suite for every echo server, in whatever language.
//!
//! It starts the server, is its clients, and looks at it from outside: through its port and
//! `/proc`. What is asked stands in [`checks::CHECKS`]; `docs/conformance.md` explains each.
//!
//! ```text
//! report ──► expected ──► suite ──► checks ──► client ──► tls
//! matrix ──►                           └─────► server
//! ```

pub mod checks;
pub mod client;
pub mod expected;
pub mod matrix;
pub mod report;
pub mod server;
pub mod suite;
pub mod tls;
