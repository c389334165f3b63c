//! Where functions keep their parameters and variables while they call others, and what those point to.
//!
//! The compiler describes each by a list of places, each for some of the function's
//! instructions (`cmd/compile/internal/ssa/debug.go`; DWARF 5, 2.6): a register as long as nothing is
//! called, then a place in the frame.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use anyhow::{Context, Result};
use gimli::{
    Attribute, AttributeValue, DebugAddr, DebugAddrBase, DebugInfoOffset, DebugLoc, DebugLocLists,
    DebugLocListsBase, DwTag, Encoding, EntriesRaw, Expression, LittleEndian, LocationLists,
    Operation, UnitHeader, UnitOffset,
};

use super::{Sections, Slice};
use crate::server::executable::Executable;

#[cfg(test)]
mod tests;

/// Types followed from one to what it stands for: a pointer, a name, a structure are three.
const MAX_STEPS: usize = 4;

/// A function, and the parameter or variable of it that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The function, as Go spells it: `path/of/package.(*Type).Method`.
    pub function: String,
    /// Its instructions.
    pub code: Range<u64>,
    places: Vec<Place>,
    of: Option<Type>,
}

/// Where it lies, for some instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    code: Range<u64>,
    pieces: Vec<Piece>,
}

/// So much of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Bytes from the canonical frame address; `None` if it is not in memory.
    at: Option<i64>,
    /// Bytes; `None` if it is all of it.
    len: Option<u64>,
}

/// Where a type is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type(DebugInfoOffset);

/// A structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// As Go spells it.
    pub name: String,
    /// By their names: their offsets, bytes, and types.
    pub members: HashMap<String, (u32, Option<Type>)>,
}

impl Local {
    /// Of a made-up function, that keeps it in one piece so far from the canonical frame address.
    #[cfg(test)]
    pub fn made(code: Range<u64>, at: i64) -> Self {
        let pieces = vec![Piece {
            at: Some(at),
            len: None,
        }];
        Self {
            function: String::new(),
            places: vec![Place {
                code: code.clone(),
                pieces,
            }],
            code,
            of: None,
        }
    }

    /// Where one of its so many words lies while a call is under way that returns here: bytes from the
    /// canonical frame address. `None` if that is not said, or makes no sense.
    ///
    /// What was in a register at the call is where it will be looked for after it.
    pub fn word(&self, return_address: u64, word: usize, of: usize) -> Option<i64> {
        let call = return_address.checked_sub(1)?;
        let word = |instruction| self.word_at(instruction, word, of);
        word(call).or_else(|| word(return_address))
    }

    fn word_at(&self, instruction: u64, word: usize, of: usize) -> Option<i64> {
        let mut places = self.places.iter();
        let place = places.find(|place| place.code.contains(&instruction))?;
        if let [Piece { at, len: None }] = place.pieces[..] {
            return at?.checked_add(8 * i64::try_from(word).ok()?);
        }
        let is_word = |piece: &Piece| piece.len == Some(8);
        let words = Some(&place.pieces).filter(|pieces| pieces.iter().all(is_word))?;
        // Go 1.21 says each word twice.
        let twice = words.len() == 2 * of && words.chunks(2).all(|two| two[0] == two[1]);
        let step = if twice { 2 } else { 1 };
        (words.len() == step * of).then(|| words.get(step * word)?.at)?
    }

    /// The type it is of.
    pub fn of(&self) -> Option<Type> {
        self.of
    }

    /// Of a program that was loaded so much elsewhere than it says.
    #[must_use]
    pub fn moved(mut self, by: u64) -> Self {
        let moved = |code: &Range<u64>| code.start.wrapping_add(by)..code.end.wrapping_add(by);
        self.code = moved(&self.code);
        for place in &mut self.places {
            place.code = moved(&place.code);
        }
        self
    }
}

impl Sections {
    /// Of the functions of these packages, those that are wanted, with the parameter or variable that `wanted`
    /// names.
    pub fn locals(
        &self,
        executable: &Executable<'_>,
        is_package: impl Fn(&str) -> bool,
        wanted: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Vec<Local>> {
        let all = [".debug_loc", ".debug_loclists", ".debug_addr"];
        let [old, lists, addresses] = all.map(|name| executable.section(name));
        let (old, lists, addresses) = (or_empty(old)?, or_empty(lists)?, or_empty(addresses)?);
        let places = Places {
            lists: LocationLists::new(
                DebugLoc::new(&old, LittleEndian),
                DebugLocLists::new(&lists, LittleEndian),
            ),
            addresses: DebugAddr::from(Slice::new(&addresses, LittleEndian)),
        };
        self.in_packages(&places, is_package, wanted)
            .context("its debugging information is damaged")
    }

    fn in_packages(
        &self,
        places: &Places<'_>,
        is_package: impl Fn(&str) -> bool,
        wanted: impl Fn(&str) -> Option<&'static str>,
    ) -> gimli::Result<Vec<Local>> {
        let mut found = Vec::new();
        self.each_unit(|_, header, abbreviations| {
            let mut entries = header.entries_raw(abbreviations, None)?;
            let root = Entry::read(&mut entries)?.unwrap_or_default();
            if is_package(&root.name()) {
                let unit = Unit::new(&header, &root);
                found.extend(unit.functions(&mut entries, places, &wanted)?);
            }
            Ok(None::<()>)
        })?;
        Ok(found)
    }

    /// The structure that this type points to, or is.
    pub fn structure(&self, of: Type) -> Option<Structure> {
        let (mut at, mut steps) = (of, 0);
        while steps < MAX_STEPS {
            match self.step(at).ok()?? {
                Step::To(next) => (at, steps) = (next, steps + 1),
                Step::At(structure) => return Some(structure),
            }
        }
        None
    }

    fn step(&self, at: Type) -> gimli::Result<Option<Step>> {
        self.each_unit(|begin, header, abbreviations| {
            let inside = |offset: &usize| *offset < header.length_including_self();
            let Some(offset) = at.0.0.checked_sub(begin).filter(inside) else {
                return Ok(None);
            };
            let mut entries = header.entries_raw(abbreviations, Some(UnitOffset(offset)))?;
            let entry = Entry::read(&mut entries)?.unwrap_or_default();
            Ok(match entry.tag {
                Some(gimli::DW_TAG_pointer_type | gimli::DW_TAG_typedef) => entry.of.map(Step::To),
                Some(gimli::DW_TAG_structure_type) => Some(Step::At(Structure {
                    name: entry.name().into_owned(),
                    members: members(&mut entries)?,
                })),
                _ => None,
            })
        })
    }
}

/// What a type is.
enum Step {
    /// A pointer to another, or its name.
    To(Type),
    At(Structure),
}

fn or_empty(section: Result<Option<Vec<u8>>>) -> Result<Vec<u8>> {
    section.map(Option::unwrap_or_default)
}

/// The sections that say where values lie.
struct Places<'a> {
    lists: LocationLists<Slice<'a>>,
    addresses: DebugAddr<Slice<'a>>,
}

/// What has to be known of a unit to read its locations.
struct Unit {
    encoding: Encoding,
    low: u64,
    addresses: DebugAddrBase<usize>,
    lists: DebugLocListsBase<usize>,
}

impl Unit {
    fn new(header: &UnitHeader<Slice<'_>>, root: &Entry<'_>) -> Self {
        let encoding = header.encoding();
        let low = match root.low {
            Some(AttributeValue::Addr(low)) => low,
            _ => 0,
        };
        Self {
            encoding,
            low,
            addresses: root.addresses.unwrap_or(DebugAddrBase(0)),
            lists: root.lists.unwrap_or_else(|| {
                DebugLocListsBase::default_for_encoding_and_file(
                    encoding,
                    gimli::DwarfFileType::Main,
                )
            }),
        }
    }

    fn functions(
        &self,
        entries: &mut EntriesRaw<'_, Slice<'_>>,
        places: &Places<'_>,
        wanted: &impl Fn(&str) -> Option<&'static str>,
    ) -> gimli::Result<Vec<Local>> {
        let mut found = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let entry = Entry::read(entries)?;
            let entry = entry.filter(|e| e.tag == Some(gimli::DW_TAG_subprogram) && e.is_framed());
            let function =
                entry.and_then(|e| Some((wanted(&e.name())?, self.code(&e, places)?, e)));
            let Some((name, code, function)) = function else {
                continue;
            };
            let local = local(entries, depth, name)?;
            if let Some(local) = local {
                found.push(Local {
                    function: function.name().into_owned(),
                    code,
                    places: self.places(&local, places)?,
                    of: local.of,
                });
            }
        }
        Ok(found)
    }

    /// `None` where it was inlined everywhere.
    fn code(&self, entry: &Entry<'_>, places: &Places<'_>) -> Option<Range<u64>> {
        let address = |value| match value {
            AttributeValue::Addr(at) => Some(at),
            AttributeValue::DebugAddrIndex(index) => {
                let size = self.encoding.address_size;
                places
                    .addresses
                    .get_address(size, self.addresses, index)
                    .ok()
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

    fn places(&self, entry: &Entry<'_>, places: &Places<'_>) -> gimli::Result<Vec<Place>> {
        let offset = match entry.location {
            Some(AttributeValue::LocationListsRef(offset)) => offset,
            Some(AttributeValue::DebugLocListsIndex(index)) => {
                places.lists.get_offset(self.encoding, self.lists, index)?
            }
            // The same everywhere.
            Some(AttributeValue::Exprloc(expression)) => {
                let pieces = pieces(expression, self.encoding);
                let code = 0..u64::MAX;
                return Ok(pieces
                    .map(|pieces| Place { code, pieces })
                    .into_iter()
                    .collect());
            }
            _ => return Ok(Vec::new()),
        };
        let mut list = places.lists.locations(
            offset,
            self.encoding,
            self.low,
            &places.addresses,
            self.addresses,
        )?;
        let mut found = Vec::new();
        while let Some(entry) = list.next()? {
            let code = entry.range.begin..entry.range.end;
            found.extend(pieces(entry.data, self.encoding).map(|pieces| Place { code, pieces }));
        }
        Ok(found)
    }
}

/// The parameter or variable of this name of the function at this depth, whose first child comes next.
fn local<'a>(
    entries: &mut EntriesRaw<'_, Slice<'a>>,
    depth: isize,
    name: &str,
) -> gimli::Result<Option<Entry<'a>>> {
    while !entries.is_empty() && entries.next_depth() > depth {
        let is_own = entries.next_depth() == depth + 1;
        let entry = Entry::read(entries)?;
        let entry = entry.filter(|e| is_own && e.is_local() && e.name() == name);
        if let Some(entry) = entry {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Of the structure that was just read.
fn members(
    entries: &mut EntriesRaw<'_, Slice<'_>>,
) -> gimli::Result<HashMap<String, (u32, Option<Type>)>> {
    let mut members = HashMap::new();
    while !entries.is_empty() && entries.next_depth() > 0 {
        let member = Entry::read(entries)?;
        if let Some((member, at)) = member.and_then(|m| m.member.map(|at| (m, at))) {
            members.insert(member.name().into_owned(), (at, member.of));
        }
    }
    Ok(members)
}

/// `None` if it needs more than the frame to be told.
fn pieces(expression: Expression<Slice<'_>>, encoding: Encoding) -> Option<Vec<Piece>> {
    let (mut operations, mut pieces, mut at) = (expression.operations(encoding), Vec::new(), None);
    while let Some(operation) = operations.next().ok()? {
        match operation {
            Operation::CallFrameCFA => at = Some(0),
            // The frame base is the same: `Entry::is_framed`.
            Operation::FrameOffset { offset } => at = Some(offset),
            Operation::Register { .. } => at = None,
            Operation::Piece {
                size_in_bits,
                bit_offset: None,
            } => pieces.push(Piece {
                at: at.take(),
                len: Some(size_in_bits / 8),
            }),
            _ => return None,
        }
    }
    if pieces.is_empty() {
        pieces.push(Piece { at, len: None });
    }
    Some(pieces)
}

/// What is needed of a debugging information entry.
#[derive(Default)]
struct Entry<'a> {
    tag: Option<DwTag>,
    name: Option<Slice<'a>>,
    of: Option<Type>,
    /// Of a member: its offset, bytes.
    member: Option<u32>,
    low: Option<AttributeValue<Slice<'a>>>,
    high: Option<AttributeValue<Slice<'a>>>,
    location: Option<AttributeValue<Slice<'a>>>,
    frame: Option<Expression<Slice<'a>>>,
    addresses: Option<DebugAddrBase<usize>>,
    lists: Option<DebugLocListsBase<usize>>,
}

impl<'a> Entry<'a> {
    /// `None` for the mark behind the last entry of several siblings.
    fn read(entries: &mut EntriesRaw<'_, Slice<'a>>) -> gimli::Result<Option<Self>> {
        let Some(abbreviation) = entries.read_abbreviation()? else {
            return Ok(None);
        };
        let mut entry = Entry {
            tag: Some(abbreviation.tag()),
            ..Entry::default()
        };
        for attribute in abbreviation.attributes() {
            entry.take(&entries.read_attribute(*attribute)?);
        }
        Ok(Some(entry))
    }

    fn take(&mut self, attribute: &Attribute<Slice<'a>>) {
        let value = attribute.value();
        match (attribute.name(), value) {
            (gimli::DW_AT_name, AttributeValue::String(name)) => self.name = Some(name),
            (gimli::DW_AT_type, AttributeValue::DebugInfoRef(at)) => self.of = Some(Type(at)),
            (gimli::DW_AT_data_member_location, value) => {
                self.member = value.udata_value().and_then(|at| at.try_into().ok());
            }
            (gimli::DW_AT_low_pc, value) => self.low = Some(value),
            (gimli::DW_AT_high_pc, value) => self.high = Some(value),
            (gimli::DW_AT_location, value) => self.location = Some(value),
            (gimli::DW_AT_frame_base, value) => self.frame = value.exprloc_value(),
            (gimli::DW_AT_addr_base, AttributeValue::DebugAddrBase(base)) => {
                self.addresses = Some(base);
            }
            (gimli::DW_AT_loclists_base, AttributeValue::DebugLocListsBase(base)) => {
                self.lists = Some(base);
            }
            _ => {}
        }
    }

    fn name(&self) -> Cow<'a, str> {
        self.name
            .map_or(Cow::Borrowed(""), |name| name.to_string_lossy())
    }

    fn is_local(&self) -> bool {
        let locals = [gimli::DW_TAG_formal_parameter, gimli::DW_TAG_variable];
        self.tag.is_some_and(|tag| locals.contains(&tag))
    }

    /// Whether its frame base is the canonical frame address, as in all functions of Go.
    fn is_framed(&self) -> bool {
        let frame = self.frame.map(|frame| frame.0.slice());
        frame == Some(&[gimli::DW_OP_call_frame_cfa.0])
    }
}
