//! Two hosts, a wire between them that can be made slow, long and lossy, and one timeline of what
//! both programs asked of the kernel, what went over the wire, and what TCP made of it.
//!
//! ```text
//!   world ──► link             two network namespaces, and what carries packets between them
//!   tracer, capture, states    the three sources; each sends `record::Event`s
//!   record                     what a trace is; every output reads it, and nothing else
//!   output                     text, HTML, SVG, pcapng, JSON lines
//!   experiment                 the article's claims that need a wire
//! ```

pub mod output;
pub mod record;
