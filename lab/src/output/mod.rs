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
//!   tracks    what the sockets' figures were, under the page's diagram
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
pub mod tracks;
pub mod words;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::{iter, panic, thread};

use anyhow::{Context, Result};

use crate::Usage;
use crate::record::Trace;

/// The files of a trace.
const FILES: [&str; 4] = ["trace.jsonl", "trace.html", "trace.svg", "trace.pcapng"];

/// Tries whether [`write_files`] can write into `dir`, and whether `file` can be written once `dir`
/// is there. Leaves nothing there but what `dir` is in, which another lab may be about to use.
///
/// # Errors
/// [`Usage`], with what the kernel says.
pub fn check_dir(dir: &Path, file: Option<&Path>) -> Result<()> {
    let made = !dir.exists();
    let tried = fs::create_dir_all(dir).map_err(|error| match dir.is_file() {
        true => io::ErrorKind::NotADirectory.into(),
        false => error,
    });
    let probe = dir.join(format!(".lab-{}", std::process::id()));
    let tried = tried.and_then(|()| File::create(&probe)).and_then(|_| fs::remove_file(&probe));
    let tried = tried.map_err(|error| cannot_write(dir, &error));
    let tried = tried.and_then(|()| file.map_or(Ok(()), check_file));
    if made {
        let _ = fs::remove_dir(dir);
    }
    tried?;
    let present = FILES.map(|name| dir.join(name)).into_iter().filter(|path| path.exists());
    Ok(present.into_iter().try_for_each(|path| check_file(&path))?)
}

/// Tries whether this file can be written. Where it is not there yet, it is not there then either.
pub fn check_file(path: &Path) -> Result<(), Usage> {
    let there = path.exists();
    let tried = File::options().append(true).create(true).open(path);
    if tried.is_ok() && !there {
        let _ = fs::remove_file(path);
    }
    tried.map(drop).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Usage {
    Usage(format!("cannot write {}: {error}", path.display()))
}

/// Writes every form of file into `dir`, which is made where it is missing: `trace.jsonl` and so
/// on, at the same time. Gives their paths.
pub fn write_files(trace: &Trace, dir: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    type Writer = fn(&Trace, &mut BufWriter<File>) -> Result<()>;
    let writers: [Writer; 4] = [
        |trace, out| jsonl::write(trace, out),
        |trace, out| Ok(out.write_all(html::page(trace).as_bytes())?),
        |trace, out| Ok(out.write_all(svg::draw(trace).as_bytes())?),
        |trace, out| pcapng::write(trace, out),
    ];
    let write = |path: &Path, write: Writer| {
        let file = File::create(path).map(BufWriter::new).map_err(anyhow::Error::from);
        let done = file.and_then(|mut out| write(trace, &mut out).and_then(|()| Ok(out.flush()?)));
        done.map_err(|error| {
            let _ = fs::remove_file(path); // half a file is none
            Usage(format!("cannot write {}: {error:#}", path.display()))
        })
    };
    let paths = FILES.map(|name| dir.join(name));
    thread::scope(|scope| {
        let begun: Vec<_> = iter::zip(&paths, writers)
            .map(|(path, writer)| scope.spawn(move || write(path, writer)))
            .collect();
        begun.into_iter().try_for_each(|one| match one.join() {
            Ok(done) => done.map_err(anyhow::Error::from),
            Err(panic) => panic::resume_unwind(panic),
        })
    })?;
    Ok(paths.into())
}
