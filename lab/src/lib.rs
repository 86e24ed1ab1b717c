//! Two hosts, a wire between them that can be made slow, long and lossy, and one timeline of what
//! both programs asked of the kernel, what went over the wire, and what TCP made of it.
//!
//! ```text
//!   world ──► link             two network namespaces, and what carries packets between them
//!   tracer, capture, states    the three sources; each sends `record::Event`s
//!   record                     what a trace is; every output reads it, and nothing else
//!   output                     text, HTML, SVG, pcapng, JSON lines
//!   experiment                 the article's claims that need a wire
//!   show, compare              draws a recorded trace again; two of them side by side
//!   hints                      what a trace shows to be a misunderstanding
//!   doctor, shell              what this machine allows; a shell on each host
//! ```
//!
//! Without the feature `live` it is `record`, `output` and the link's options: what needs no host.

#[cfg(feature = "live")]
pub mod capture;
#[cfg(feature = "live")]
pub mod clock;
#[cfg(feature = "live")]
pub mod compare;
#[cfg(feature = "live")]
pub mod doctor;
#[cfg(feature = "live")]
pub mod experiment;
mod hex;
#[cfg(feature = "live")]
pub mod hints;
#[cfg(feature = "live")]
pub mod link;
#[cfg(not(feature = "live"))]
pub mod link {
    //! What the link is to be like.
    mod config;
    pub use config::{LinkConfig, Loss, Nth, Queue};
}
pub mod output;
#[cfg(feature = "live")]
mod reason;
pub mod record;
#[cfg(feature = "live")]
pub mod rules;
#[cfg(feature = "live")]
pub mod say;
#[cfg(feature = "live")]
pub mod shell;
#[cfg(feature = "live")]
pub mod show;
#[cfg(feature = "live")]
pub mod states;
#[cfg(feature = "live")]
pub mod trace;
#[cfg(feature = "live")]
pub mod tracer;
#[cfg_attr(not(feature = "live"), allow(dead_code))]
mod values;
#[cfg(feature = "live")]
pub mod world;

/// Asked for in a way that cannot be, or to write where that is not possible: exit code 2. The text
/// says how to ask.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// This machine does not allow it: exit code 3. The text says what would make it possible.
#[derive(Debug)]
pub struct NotPossible(pub String);

impl std::fmt::Display for NotPossible {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for NotPossible {}
