//! Calls that a compiler made jumps of, as they were the last thing that a function did. The
//! function's frame is gone when such a call is made. But the debug information says of each call
//! whom it calls, and of each such jump, too: where one way alone leads from the caller to whom it
//! reached, that was the way.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;

use addr2line::gimli::{
    self, Abbreviations, AttributeValue, DwAt, EndianSlice, LittleEndian, Unit, constants,
};
use object::{Object as _, ObjectSection, ReadCache};

/// An open file of code.
pub type Object<'a> = object::File<'a, &'a ReadCache<File>>;

/// More jumps in a row than this are not followed.
const LONGEST: usize = 8;

/// So much debug information is read through for jumps at most: more takes seconds.
const MOST: u64 = 32 << 20;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A function's place in the debug information.
type Id = usize;

/// Whom each call and each jump reaches.
#[derive(Default)]
pub struct Tails {
    /// By the address to which a call returns.
    calls: HashMap<u64, Id>,
    functions: HashMap<Id, Function>,
    /// Where a function's code is described, if not where it is called.
    same: HashMap<Id, Id>,
    by_name: HashMap<String, Id>,
}

/// A function.
#[derive(Default)]
pub struct Function {
    /// As the linker knows it.
    pub name: String,
    /// Its code. None: it is somewhere else.
    pub code: Vec<Range<u64>>,
    /// Where it jumps, and to whom.
    jumps: Vec<(u64, Id)>,
}

impl Tails {
    /// The code of the units that say whom they call. Most often a debug build has none of its own.
    pub fn places(object: &Object<'_>) -> Vec<Range<u64>> {
        let mut places = Vec::new();
        units(object, |dwarf, unit| {
            let Ok(mut ranges) = dwarf.unit_ranges(unit) else { return };
            while let Ok(Some(range)) = ranges.next() {
                places.push(range.begin..range.end);
            }
        });
        places
    }

    /// Reads all that these units say.
    pub fn read(object: &Object<'_>) -> Tails {
        let mut tails = Tails::default();
        units(object, |dwarf, unit| tails.unit(dwarf, unit));
        tails.join();
        tails
    }

    fn unit(&mut self, dwarf: &gimli::Dwarf<Slice>, unit: &Unit<Slice>) {
        let mut entries = unit.entries();
        let mut inside: Vec<(isize, Id)> = Vec::new();
        while let Ok(Some(entry)) = entries.next_dfs() {
            while inside.last().is_some_and(|(depth, _)| *depth >= entry.depth()) {
                inside.pop();
            }
            let id = entry.offset().to_unit_section_offset(&unit.header).0;
            let reference = |name: DwAt| match entry.attr_value(name)? {
                AttributeValue::UnitRef(at) => Some(at.to_unit_section_offset(&unit.header).0),
                AttributeValue::DebugInfoRef(at) => Some(at.0),
                _ => None,
            };
            let address = |name: DwAt| dwarf.attr_address(unit, entry.attr_value(name)?).ok()?;
            let text = |name: DwAt| {
                let text = dwarf.attr_string(unit, entry.attr_value(name)?).ok()?;
                Some(text.to_string_lossy().into_owned())
            };
            match entry.tag() {
                constants::DW_TAG_subprogram => {
                    inside.push((entry.depth(), id));
                    let of = reference(constants::DW_AT_abstract_origin);
                    if let Some(of) = of.or_else(|| reference(constants::DW_AT_specification)) {
                        self.same.insert(id, of);
                    }
                    let function = self.functions.entry(id).or_default();
                    let name = text(constants::DW_AT_linkage_name);
                    function.name =
                        name.or_else(|| text(constants::DW_AT_name)).unwrap_or_default();
                    let Ok(mut ranges) = dwarf.die_ranges(unit, entry) else { continue };
                    while let Ok(Some(range)) = ranges.next() {
                        function.code.push(range.begin..range.end);
                    }
                }
                constants::DW_TAG_call_site => {
                    let Some(whom) = reference(constants::DW_AT_call_origin) else { continue };
                    let back = address(constants::DW_AT_call_return_pc);
                    let jumps = entry.attr(constants::DW_AT_call_tail_call).is_some();
                    let from = address(constants::DW_AT_call_pc).or(back.map(|back| back - 1));
                    match (jumps, inside.last()) {
                        (true, Some((_, function))) => {
                            let function = self.functions.entry(*function).or_default();
                            function.jumps.extend(from.map(|from| (from, whom)));
                        }
                        _ => drop(back.map(|back| self.calls.insert(back, whom))),
                    }
                }
                _ => {}
            }
        }
    }

    /// Puts together what is said of one function in several places.
    fn join(&mut self) {
        let parts: Vec<Id> = self.same.keys().copied().collect();
        for part in parts {
            let (root, Some(part)) = (self.root(part), self.functions.remove(&part)) else {
                continue;
            };
            let whole = self.functions.entry(root).or_default();
            whole.code.extend(part.code);
            whole.jumps.extend(part.jumps);
            if whole.name.is_empty() {
                whole.name = part.name;
            }
        }
        let defined = self.functions.iter().filter(|(_, function)| !function.code.is_empty());
        self.by_name = defined.map(|(id, function)| (function.name.clone(), *id)).collect();
    }

    fn root(&self, mut id: Id) -> Id {
        for _ in 0..LONGEST {
            match self.same.get(&id) {
                Some(other) => id = *other,
                None => break,
            }
        }
        id
    }

    /// A function, where its code is described.
    fn function(&self, id: Id) -> Option<&Function> {
        let function = self.functions.get(&self.root(id))?;
        match self.by_name.get(&function.name) {
            Some(id) if function.code.is_empty() => self.functions.get(id),
            _ => Some(function),
        }
    }

    /// The jumps, the outermost first, that lead from the call which returns to `back` to the
    /// function that is in fact there. None: it was called, or it is not sure which way it went.
    pub fn between(&self, back: u64, is_there: &dyn Fn(&Function) -> bool) -> Vec<u64> {
        let Some(first) = self.calls.get(&back) else { return Vec::new() };
        let mut ways = Vec::new();
        self.search(*first, is_there, &mut Vec::new(), &mut ways);
        if ways.len() == 1 { ways.remove(0) } else { Vec::new() }
    }

    fn search(
        &self,
        id: Id,
        is_there: &dyn Fn(&Function) -> bool,
        way: &mut Vec<u64>,
        ways: &mut Vec<Vec<u64>>,
    ) {
        let Some(function) = self.function(id) else { return };
        if is_there(function) {
            return ways.push(way.clone());
        }
        if way.len() == LONGEST || ways.len() > 1 {
            return;
        }
        for (from, whom) in &function.jumps {
            if !way.contains(from) {
                way.push(*from);
                self.search(*whom, is_there, way, ways);
                way.pop();
            }
        }
    }
}

/// Each unit that says whom it calls.
fn units(object: &Object<'_>, mut each: impl FnMut(&gimli::Dwarf<Slice>, &Unit<Slice>)) {
    let section = |name: &str| object.section_by_name(name);
    if section(".debug_info").is_none_or(|section| section.size() > MOST) {
        return;
    }
    let data = |id: gimli::SectionId| {
        let data = section(id.name()).and_then(|section| section.uncompressed_data().ok());
        data.unwrap_or_default()
    };
    // Most often these two say that there is nothing to look for.
    let (headers, shapes) =
        (data(gimli::SectionId::DebugInfo), data(gimli::SectionId::DebugAbbrev));
    let shapes = gimli::DebugAbbrev::new(&shapes, LittleEndian);
    let mut units = gimli::DebugInfo::new(&headers, LittleEndian).units();
    let mut found = false;
    while let Ok(Some(header)) = units.next() {
        found |= header.abbreviations(&shapes).is_ok_and(|shapes| has_jumps(&shapes));
    }
    if !found {
        return;
    }
    let Ok(sections) = gimli::DwarfSections::load(|id| Ok::<_, gimli::Error>(data(id))) else {
        return;
    };
    let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        let abbreviations = dwarf.abbreviations(&header);
        if abbreviations.is_ok_and(|abbreviations| has_jumps(&abbreviations))
            && let Ok(unit) = dwarf.unit(header)
        {
            each(&dwarf, &unit);
        }
    }
}

fn has_jumps(abbreviations: &Abbreviations) -> bool {
    (1..)
        .map_while(|code| abbreviations.get(code))
        .any(|abbreviation| abbreviation.tag() == constants::DW_TAG_call_site)
}
