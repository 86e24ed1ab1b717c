//! The lines of source that led to a call: the stack of a stopped thread is unwound, by framehop
//! with what each file of code says of its frames, and each address looked up, by addr2line.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framehop::{
    CacheNative, MayAllocateDuringUnwind, Module, UnwindRegsNative, Unwinder, UnwinderNative,
};
use nix::sys::ptrace::{self, regset::NT_PRSTATUS};
use nix::unistd::Pid;

use super::image::{Build, Image, build};
use super::memory::Memory;
use super::own::Own;

/// No stack that teaches anything is deeper; one that runs in circles ends here.
const DEEPEST: usize = 256;

/// A page, as far as reading it at once goes.
const PAGE: u64 = 4096;

/// The stacks of all traced threads.
pub struct Stacks {
    /// By process.
    spaces: HashMap<i32, Space>,
    images: HashMap<Build, Option<Rc<Image>>>,
    own: Own,
    cache: CacheNative<MayAllocateDuringUnwind>,
    pub price: Price,
}

/// What the lines have cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Price {
    /// The calls of which the stack was unwound.
    pub calls: u32,
    /// How long that took.
    pub unwinding: Duration,
    /// How long it took to read what the files say, once for each place.
    pub reading: Duration,
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.unwinding.as_nanos() as f64 / 1e3 / f64::from(self.calls.max(1));
        let millis = self.reading.as_nanos() as f64 / 1e6;
        write!(f, "{micros:.0} µs more for its lines of source, and {millis:.0} ms to read them")
    }
}

/// Where a process has its code.
#[derive(Default)]
struct Space {
    unwinder: UnwinderNative<Arc<[u8]>, MayAllocateDuringUnwind>,
    modules: Vec<Loaded>,
    /// What can be executed and is no such file: made by a compiler as the program runs.
    other_code: Vec<Range<u64>>,
    calls: u32,
    /// The call at which it is worth while to read the map again.
    look_at: u32,
}

/// A file of code in a process.
struct Loaded {
    range: Range<u64>,
    /// How far it lies from the addresses that it states.
    shift: u64,
    image: Rc<Image>,
}

impl Stacks {
    pub fn new() -> Stacks {
        Stacks {
            spaces: HashMap::new(),
            images: HashMap::new(),
            own: Own::new(),
            cache: CacheNative::new(),
            price: Price::default(),
        }
    }

    /// The process has ended, or become another program.
    pub fn forget(&mut self, pid: i32) {
        self.spaces.remove(&pid);
    }

    /// The lines of the program's own files that led to where this stopped thread is, the
    /// outermost first. None: the program has no debug information.
    pub fn lines(&mut self, pid: i32, tid: i32) -> Vec<String> {
        let (begun, read_before) = (Instant::now(), self.price.reading);
        let mut space = self.spaces.remove(&pid).unwrap_or_default();
        space.calls += 1;
        let mut lines = Vec::new();
        if space.has_lines() || self.look(pid, &mut space) && space.has_lines() {
            let (mut stack, mut whole) = self.unwind(pid, tid, &space);
            if !whole && self.look(pid, &mut space) {
                (stack, whole) = self.unwind(pid, tid, &space);
            }
            if whole {
                space.look_at = space.calls; // the next gap is a new one
            }
            let reading = &mut self.price.reading;
            let mut outer: Option<(&Image, u64)> = None;
            for (address, module) in stack.into_iter().rev() {
                let loaded = &space.modules[module];
                let (image, stated) = (&*loaded.image, address.wrapping_sub(loaded.shift));
                let jumps = outer.map(|(caller, call)| {
                    caller.jumps(call + 1, (image, stated), &mut self.own, reading)
                });
                let found = image.lines(stated, &mut self.own, reading);
                let all = jumps.iter().flatten().chain(found.iter());
                lines.extend(all.map(|line| line.to_string()));
                outer = (!found.is_empty()).then_some((image, stated));
            }
            lines.dedup();
            self.price.calls += 1;
            let read = self.price.reading - read_before;
            self.price.unwinding += begun.elapsed().saturating_sub(read);
        }
        self.spaces.insert(pid, space);
        lines
    }

    /// The addresses of the instructions and the modules that they are in, the innermost first;
    /// `false`: an address is none of the code that is known.
    fn unwind(&mut self, pid: i32, tid: i32, space: &Space) -> (Vec<(u64, usize)>, bool) {
        let Some((pc, registers)) = registers(tid) else { return (Vec::new(), true) };
        let (memory, mut pages) = (Memory(pid), Vec::<(u64, Vec<u8>)>::new());
        let mut word = |address: u64| {
            let page = address & !(PAGE - 1);
            if pages.last().is_none_or(|last| last.0 != page) {
                pages.push((page, memory.bytes(page, PAGE as usize).ok_or(())?));
            }
            let at = (address - page) as usize;
            let (_, bytes) = pages.last().ok_or(())?;
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_ne_bytes).ok_or(())
        };
        let mut frames = space.unwinder.iter_frames(pc, registers, &mut self.cache, &mut word);
        let mut stack = Vec::new();
        for _ in 0..DEEPEST {
            let Ok(Some(frame)) = frames.next() else { break };
            // What is stopped stands behind the instruction that made the call, as a caller does.
            let address = match frame.is_return_address() {
                true => frame.address_for_lookup(),
                false => pc - 1,
            };
            match space.modules.iter().position(|loaded| loaded.range.contains(&address)) {
                Some(module) => stack.push((address, module)),
                None if space.other_code.iter().any(|range| range.contains(&address)) => {}
                None => return (stack, false),
            }
        }
        (stack, true)
    }

    /// Reads where the process has its code; `false`: not now. What was in vain is worth another
    /// look only when as many calls again have been made.
    fn look(&mut self, pid: i32, space: &mut Space) -> bool {
        if space.calls < space.look_at {
            return false;
        }
        let begun = Instant::now();
        *space = Space { calls: space.calls, look_at: 2 * space.calls, ..Space::default() };
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        for Mapping { range, offset, path } in maps.lines().filter_map(Mapping::read) {
            let path = path.map(|path| PathBuf::from(format!("/proc/{pid}/root{path}")));
            let image = path.and_then(|path| self.image(path));
            let shift = image.as_ref().and_then(|image| image.shift(&range, offset));
            if let (Some(image), Some(shift)) = (image, shift) {
                let module = Module::new(String::new(), range.clone(), shift, image.sections());
                space.unwinder.add_module(module);
                space.modules.push(Loaded { range, shift, image });
            } else {
                space.other_code.push(range);
            }
        }
        self.price.reading += begun.elapsed();
        true
    }

    fn image(&mut self, path: PathBuf) -> Option<Rc<Image>> {
        let file = File::open(&path).ok()?;
        let known = file.metadata().ok().filter(|file| file.is_file())?;
        let image = self.images.entry(build(&known));
        image.or_insert_with(|| Image::open(&path, file).map(Rc::new)).clone()
    }
}

impl Space {
    fn has_lines(&self) -> bool {
        self.modules.iter().any(|loaded| loaded.image.has_lines())
    }
}

/// A line of /proc/PID/maps: code.
struct Mapping<'a> {
    range: Range<u64>,
    offset: u64,
    /// None for memory that is no file.
    path: Option<&'a str>,
}

impl Mapping<'_> {
    /// `55d0c8a00000-55d0c8a01000 r-xp 00001000 fe:01 1234   /bin/true`. `None`: no code.
    fn read(line: &str) -> Option<Mapping<'_>> {
        let number = |text| u64::from_str_radix(text, 16).ok();
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after;
            word
        };
        let (range, rights, offset) = (word(), word(), word());
        let (_device, _inode) = (word(), word());
        let (start, end) = range.split_once('-')?;
        let path = Some(rest.trim_start()).filter(|path| path.starts_with('/'));
        let code = rights.as_bytes().get(2) == Some(&b'x');
        let range = number(start)?..number(end)?;
        code.then_some(Mapping { range, offset: number(offset)?, path })
    }
}

/// Where a stopped thread is, and what unwinding begins with.
fn registers(tid: i32) -> Option<(u64, UnwindRegsNative)> {
    let all = ptrace::getregset::<NT_PRSTATUS>(Pid::from_raw(tid)).ok()?;
    #[cfg(target_arch = "x86_64")]
    return Some((all.rip, UnwindRegsNative::new(all.rip, all.rsp, all.rbp)));
    #[cfg(target_arch = "aarch64")]
    return Some((all.pc, UnwindRegsNative::new(all.regs[30], all.sp, all.regs[29])));
}
