//! Where functions keep their parameters and variables while they call others, and the types of those.
//!
//! The compiler describes each by a list of sections, each for some of the function's
//! instructions (`cmd/compile/internal/ssa/debug.go`; DWARF 5, 2.6): a register as long as nothing is
//! called, then a place in the frame.

use std::ops::Range;

use anyhow::{Context, Result};
use gimli::{
    AttributeValue, DebugAddr, DebugAddrBase, Encoding, EntriesRaw, Expression, LittleEndian,
    Operation, UnitHeader, UnitOffset,
};

use super::{
    DwarfSlice, Sections,
    entry::{DebugEntry, TypeOffset, members},
    local::{Local, Location, LocationPiece, Structure},
};
use crate::server::executable::Executable;

mod lists;
#[cfg(test)]
mod tests;

/// Most types from one to the structure it stands for: a pointer, a name, a structure are three.
const MAX_STEPS: usize = 4;

impl Sections {
    /// The parameters or variables that `wanted` names, of functions of these packages.
    pub(crate) fn locals(
        &self,
        executable: &Executable<'_>,
        is_package: impl Fn(&str) -> bool,
        wanted: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Vec<Local>> {
        let addresses = executable.section(".debug_addr")?.unwrap_or_default();
        let addresses = DebugAddr::from(DwarfSlice::new(&addresses, LittleEndian));
        let found = self.in_packages(&addresses, is_package, wanted);
        let mut found = found.context("its debugging information is damaged")?;
        for (section, is_of_dwarf5) in [(".debug_loc", false), (".debug_loclists", true)] {
            let is_there = |found: &&mut FoundLocal| {
                found.list.is_some() && (found.bases.encoding.version >= 5) == is_of_dwarf5
            };
            let mut there: Vec<_> = found.iter_mut().filter(is_there).collect();
            there.sort_by_key(|found| found.list);
            if let Some((_, section)) = executable.stream(section)? {
                let read = lists::read(section, &mut there, &addresses);
                read.context("its debugging information is damaged")?;
            }
        }
        Ok(found.into_iter().map(|found| found.local).collect())
    }

    fn in_packages(
        &self,
        addresses: &DebugAddr<DwarfSlice<'_>>,
        is_package: impl Fn(&str) -> bool,
        wanted: impl Fn(&str) -> Option<&'static str>,
    ) -> gimli::Result<Vec<FoundLocal>> {
        let mut found = Vec::new();
        self.each_unit(|_, header, abbreviations| {
            let mut entries = header.entries_raw(abbreviations, None)?;
            let root = DebugEntry::read(&mut entries)?.unwrap_or_default();
            if is_package(&root.name()) {
                let unit = UnitBases::new(&header, &root);
                found.extend(unit.functions(&mut entries, addresses, &wanted)?);
            }
            Ok(None::<()>)
        })?;
        Ok(found)
    }

    /// The structure that this type points to, or is.
    pub(crate) fn structure(&self, of: TypeOffset) -> Option<Structure> {
        let (mut at, mut steps) = (of, 0);
        while steps < MAX_STEPS {
            match self.step(at).ok()?? {
                Step::To(next) => (at, steps) = (next, steps + 1),
                Step::At(structure) => return Some(structure),
            }
        }
        None
    }

    fn step(&self, at: TypeOffset) -> gimli::Result<Option<Step>> {
        self.each_unit(|begin, header, abbreviations| {
            let inside = |offset: &usize| *offset < header.length_including_self();
            let Some(offset) = at.0.0.checked_sub(begin).filter(inside) else {
                return Ok(None);
            };
            let mut entries = header.entries_raw(abbreviations, Some(UnitOffset(offset)))?;
            let entry = DebugEntry::read(&mut entries)?.unwrap_or_default();
            Ok(match entry.tag {
                Some(gimli::DW_TAG_pointer_type | gimli::DW_TAG_typedef) => entry.of.map(Step::To),
                Some(gimli::DW_TAG_structure_type) => Some(Step::At(Structure {
                    name: entry.name().into_owned(),
                    members: members(&mut entries, 0)?,
                })),
                _ => None,
            })
        })
    }
}

/// A step from a type to the structure it stands for.
enum Step {
    /// A pointer to another, or its name.
    To(TypeOffset),
    At(Structure),
}

/// A parameter or variable, and where the list of its locations is that is still to be read.
struct FoundLocal {
    local: Local,
    bases: UnitBases,
    /// Offset in the section of such lists.
    list: Option<usize>,
}

/// What is needed of a unit to read its locations.
#[derive(Clone, Copy)]
struct UnitBases {
    encoding: Encoding,
    low: u64,
    addresses: DebugAddrBase<usize>,
}

impl UnitBases {
    fn new(header: &UnitHeader<DwarfSlice<'_>>, root: &DebugEntry<'_>) -> Self {
        let encoding = header.encoding();
        let low = match root.low {
            Some(AttributeValue::Addr(low)) => low,
            _ => 0,
        };
        Self {
            encoding,
            low,
            addresses: root.addresses.unwrap_or(DebugAddrBase(0)),
        }
    }

    fn functions(
        &self,
        entries: &mut EntriesRaw<'_, DwarfSlice<'_>>,
        addresses: &DebugAddr<DwarfSlice<'_>>,
        wanted: &impl Fn(&str) -> Option<&'static str>,
    ) -> gimli::Result<Vec<FoundLocal>> {
        let mut found = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let entry = DebugEntry::read(entries)?;
            let entry = entry.filter(|e| e.tag == Some(gimli::DW_TAG_subprogram) && e.is_framed());
            let function =
                entry.and_then(|e| Some((wanted(&e.name())?, self.code(&e, addresses)?, e)));
            let Some((name, code, function)) = function else {
                continue;
            };
            let local = local(entries, depth, name)?;
            if let Some(local) = local {
                let (locations, list) = self.locations(&local);
                let local = Local {
                    function: function.name().into_owned(),
                    code,
                    locations,
                    of: local.of,
                };
                found.push(FoundLocal {
                    local,
                    bases: *self,
                    list,
                });
            }
        }
        Ok(found)
    }

    /// `None` where it was inlined everywhere.
    fn code(
        &self,
        entry: &DebugEntry<'_>,
        addresses: &DebugAddr<DwarfSlice<'_>>,
    ) -> Option<Range<u64>> {
        let address = |value| match value {
            AttributeValue::Addr(at) => Some(at),
            AttributeValue::DebugAddrIndex(index) => {
                let size = self.encoding.address_size;
                addresses.get_address(size, self.addresses, index).ok()
            }
            _ => None,
        };
        let start = address(entry.low?)?;
        let end = match entry.high? {
            AttributeValue::Udata(len) => start.checked_add(len)?,
            end => address(end)?,
        };
        Some(start..end)
    }

    /// Those that are the same everywhere, or where the list of them is.
    fn locations(&self, entry: &DebugEntry<'_>) -> (Vec<Location>, Option<usize>) {
        match entry.location {
            Some(AttributeValue::LocationListsRef(offset)) => (Vec::new(), Some(offset.0)),
            Some(AttributeValue::Exprloc(expression)) => {
                let pieces = pieces(expression, self.encoding);
                let code = 0..u64::MAX;
                let location = pieces.map(|pieces| Location { code, pieces });
                (location.into_iter().collect(), None)
            }
            // Go's linker writes no indices of lists.
            _ => (Vec::new(), None),
        }
    }
}

/// The parameter or variable of this name of the function at this depth, whose first child comes next.
fn local<'a>(
    entries: &mut EntriesRaw<'_, DwarfSlice<'a>>,
    depth: isize,
    name: &str,
) -> gimli::Result<Option<DebugEntry<'a>>> {
    while !entries.is_empty() && entries.next_depth() > depth {
        let is_own = entries.next_depth() == depth + 1;
        let entry = DebugEntry::read(entries)?;
        let entry = entry.filter(|e| is_own && e.is_local() && e.name() == name);
        if let Some(entry) = entry {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// `None` if it needs more than the frame to be evaluated.
fn pieces(
    expression: Expression<DwarfSlice<'_>>,
    encoding: Encoding,
) -> Option<Vec<LocationPiece>> {
    let (mut operations, mut pieces, mut at) = (expression.operations(encoding), Vec::new(), None);
    while let Some(operation) = operations.next().ok()? {
        match operation {
            Operation::CallFrameCFA => at = Some(0),
            // The frame base is the same: `DebugEntry::is_framed`.
            Operation::FrameOffset { offset } => at = Some(offset),
            Operation::Register { .. } => at = None,
            Operation::Piece {
                size_in_bits,
                bit_offset: None,
            } => pieces.push(LocationPiece {
                at: at.take(),
                len: Some(size_in_bits / 8),
            }),
            _ => return None,
        }
    }
    if pieces.is_empty() {
        pieces.push(LocationPiece { at, len: None });
    }
    Some(pieces)
}
