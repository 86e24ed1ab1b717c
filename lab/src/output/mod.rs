//! What a trace looks like. Every form reads [`record::Trace`](crate::record::Trace) and nothing
//! else.
//!
//! ```text
//!   text      the terminal, one event a line, while it happens
//!   svg       the diagram          (layout: which moment is at which height)
//!   html      one page: the diagram, a list, and what lies behind each event
//!   pcapng    for Wireshark: segments and system calls on one timeline
//!   jsonl     a line of JSON an event; `lab show` draws it again
//!   outline   text without times, ports and numbers: the same on every run
//!   words     how one event is said   (args: a call's arguments, made short)
//!   streams   what each connection carried
//! ```

pub mod args;
pub mod html;
pub mod jsonl;
pub mod layout;
pub mod outline;
pub mod pcapng;
pub mod streams;
pub mod svg;
pub mod text;
pub mod words;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::record::Trace;

/// Writes every form of file into `dir`, which is made where it is missing: `trace.jsonl` and so
/// on. Gives their paths.
pub fn write_files(trace: &Trace, dir: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut written = Vec::new();
    let mut file = |name: &str, write: &dyn Fn(BufWriter<File>) -> Result<()>| {
        let path = dir.join(name);
        let file = File::create(&path).map(BufWriter::new).map_err(anyhow::Error::from);
        file.and_then(write).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
        Ok::<(), anyhow::Error>(())
    };
    file("trace.jsonl", &|out| jsonl::write(trace, out))?;
    file("trace.html", &|mut out| Ok(out.write_all(html::page(trace).as_bytes())?))?;
    file("trace.svg", &|mut out| Ok(out.write_all(svg::draw(trace).as_bytes())?))?;
    file("trace.pcapng", &|out| pcapng::write(trace, out))?;
    Ok(written)
}
