//! One build of an executable or a library: how to unwind its frames, and from which lines its
//! instructions come. Both are read when they are asked for, and once.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use addr2line::Loader;
use framehop::ExplicitModuleSectionInfo;
use object::{
    Object as _, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, SegmentFlags, elf,
};

use super::own::Own;
use super::tail::{Function, Object, Tails};

/// What tells one build of a file from another: device, inode, length, time of the last change.
pub type Build = (u64, u64, u64, i64, i64);

pub fn build(file: &Metadata) -> Build {
    (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec())
}

/// Lines that led to one instruction, the outermost first: "src/sys.rs:77". More than one where
/// functions are inlined.
pub type Lines = Rc<[Rc<str>]>;

/// A file of code.
pub struct Image {
    path: PathBuf,
    code: Vec<Code>,
    sections: ExplicitModuleSectionInfo<Arc<[u8]>>,
    has_lines: bool,
    /// `None`: what it says of its lines cannot be read.
    debug: OnceCell<Option<Loader>>,
    known: RefCell<HashMap<u64, Lines>>,
    /// The code that says whom it calls.
    places: OnceCell<Vec<Range<u64>>>,
    tails: OnceCell<Tails>,
    /// The functions' code, by the linker's names for them.
    names: OnceCell<HashMap<String, Range<u64>>>,
}

/// A part of the file that is code, and the address that the file states for it.
struct Code {
    file: Range<u64>,
    stated: u64,
}

impl Image {
    /// Reads what unwinding takes; `None`: it is no file of code. `path`: where it can be opened.
    pub fn open(path: &Path, file: File) -> Option<Image> {
        let cache = ReadCache::new(file);
        let object = object::File::parse(&cache).ok()?;
        let code = object.segments().filter_map(|segment| {
            let SegmentFlags::Elf { p_flags, .. } = segment.flags() else { return None };
            let (begin, length) = segment.file_range();
            let code =
                Code { file: begin..begin.saturating_add(length), stated: segment.address() };
            (p_flags.0 & elf::PF_X.0 != 0).then_some(code)
        });
        let range = |name| {
            let section = object.section_by_name(name)?;
            Some(section.address()..section.address() + section.size())
        };
        let data = |name| Some(object.section_by_name(name)?.uncompressed_data().ok()?.into());
        let sections = ExplicitModuleSectionInfo {
            text_svma: range(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            debug_frame: data(".debug_frame"),
            ..Default::default()
        };
        Some(Image {
            path: path.to_owned(),
            code: code.collect(),
            sections,
            has_lines: object.section_by_name(".debug_line").is_some(),
            debug: OnceCell::new(),
            known: RefCell::default(),
            places: OnceCell::new(),
            tails: OnceCell::new(),
            names: OnceCell::new(),
        })
    }

    /// Whether it was built with debug information.
    pub fn has_lines(&self) -> bool {
        self.has_lines
    }

    /// What framehop wants to know of it.
    pub fn sections(&self) -> ExplicitModuleSectionInfo<Arc<[u8]>> {
        self.sections.clone()
    }

    /// How far the code lies from its stated addresses, if the file's bytes from `offset` on are
    /// mapped to `range`.
    pub fn shift(&self, range: &Range<u64>, offset: u64) -> Option<u64> {
        // A mapping begins and ends at a page, and a segment anywhere in it.
        let end = offset + (range.end - range.start);
        let mut segments = self.code.iter();
        let code = segments.find(|code| code.file.start < end && offset < code.file.end)?;
        let stated = code.stated.wrapping_sub(code.file.start).wrapping_add(offset);
        Some(range.start.wrapping_sub(stated))
    }

    /// The lines of the program's `own` files that led to the instruction at this stated address.
    /// What had to be read for it is added to `reading`.
    pub fn lines(&self, stated: u64, own: &mut Own, reading: &mut Duration) -> Lines {
        if !self.has_lines {
            return Rc::default();
        }
        if let Some(lines) = self.known.borrow().get(&stated) {
            return lines.clone();
        }
        let begun = Instant::now();
        let lines: Lines = self.look_up(stated, own).into();
        self.known.borrow_mut().insert(stated, lines.clone());
        *reading += begun.elapsed();
        lines
    }

    /// The lines of the jumps that lead from the call which returns to this stated address to the
    /// instruction at `inner`, another image's perhaps: see [`Tails`].
    pub fn jumps(
        &self,
        back: u64,
        inner: (&Image, u64),
        own: &mut Own,
        reading: &mut Duration,
    ) -> Vec<Rc<str>> {
        if !self.has_lines {
            return Vec::new();
        }
        let begun = Instant::now();
        let places = self.places.get_or_init(|| self.read(Tails::places).unwrap_or_default());
        if !places.iter().any(|place| place.contains(&(back - 1))) {
            *reading += begun.elapsed();
            return Vec::new();
        }
        let tails = self.tails.get_or_init(|| self.read(Tails::read).unwrap_or_default());
        let (image, at) = inner;
        let is_there = |function: &Function| match function.code.is_empty() {
            true => image.names().get(&function.name).is_some_and(|code| code.contains(&at)),
            false => ptr::eq(image, self) && function.code.iter().any(|code| code.contains(&at)),
        };
        let jumps = tails.between(back, &is_there);
        *reading += begun.elapsed();
        jumps.into_iter().flat_map(|from| self.lines(from, own, reading).to_vec()).collect()
    }

    fn names(&self) -> &HashMap<String, Range<u64>> {
        let read = |object: &Object| {
            let symbols = object.symbols().chain(object.dynamic_symbols());
            let functions = symbols.filter(|symbol| symbol.size() > 0).filter_map(|symbol| {
                let code = symbol.address()..symbol.address().saturating_add(symbol.size());
                Some((symbol.name().ok()?.to_owned(), code))
            });
            functions.collect()
        };
        self.names.get_or_init(|| self.read(read).unwrap_or_default())
    }

    /// Reads something else of the file.
    fn read<T>(&self, what: impl FnOnce(&Object) -> T) -> Option<T> {
        let cache = ReadCache::new(File::open(&self.path).ok()?);
        Some(what(&object::File::parse(&cache).ok()?))
    }

    fn look_up(&self, stated: u64, own: &mut Own) -> Vec<Rc<str>> {
        let mut lines = Vec::new();
        let Some(debug) = self.debug.get_or_init(|| Loader::new(&self.path).ok()) else {
            return lines;
        };
        let Ok(mut frames) = debug.find_frames(stated) else { return lines };
        while let Ok(Some(frame)) = frames.next() {
            let Some(place) = frame.location else { continue };
            if let (Some(file), Some(line @ 1..)) = (place.file, place.line)
                && let Some(file) = own.name(file)
            {
                lines.push(format!("{file}:{line}").into());
            }
        }
        lines.reverse();
        lines
    }
}
