//! The layout of `runtime.g` from the executable's own debugging information.
//!
//! The Go linker collects the types of the whole program in a unit of package `runtime`, and writes
//! names inline (`cmd/link/internal/ld/dwarf.go`: `runtimeCU`, `DW_FORM_string`). So only the units
//! of that name are read, entry by entry and no further than needed, and of the sections only
//! `.debug_info` and `.debug_abbrev`: a real server has 46 MB of the first alone, which are unpacked
//! once, unit by unit; only units of interest are kept, 12 MB.

use std::{collections::HashMap, io::Read};

use anyhow::{Context, Result, ensure};
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugInfo, DwTag, EndianSlice,
    EntriesRaw, LittleEndian, UnitHeader,
};

use super::GoLayout;
use crate::server::executable::Executable;

pub mod locals;

/// The package whose unit has the types.
const RUNTIME: &str = "runtime";
/// DWARF 5, 7.4: what stands before a length of 64 bits, and the least of what is no length of 32.
const LONG: u32 = 0xffff_ffff;
const NO_LENGTH: u32 = 0xffff_fff0;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Of each structure, the members' names and offsets, bytes.
pub type Structures = HashMap<String, HashMap<String, u32>>;

/// What is kept of the sections that say what there is, uncompressed.
#[derive(Debug)]
pub struct Sections {
    units: Vec<Kept>,
    abbrev: Vec<u8>,
}

/// A unit of `.debug_info`.
#[derive(Debug)]
struct Kept {
    /// Where it begins in the section, bytes.
    at: usize,
    bytes: Vec<u8>,
}

impl Sections {
    /// Keeps the types, and what is said of the functions of these packages. `None` where the executable
    /// was stripped.
    pub fn read(
        executable: &Executable<'_>,
        is_package: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>> {
        let Some((len, info)) = executable.stream(".debug_info")? else {
            return Ok(None);
        };
        let abbrev = executable.section(".debug_abbrev")?;
        let abbrev = abbrev.context("it lacks .debug_abbrev")?;
        let is_wanted = |name: &str| name == RUNTIME || is_package(name);
        let units = Kept::those(info, len, &abbrev, is_wanted);
        let units = units.context("its .debug_info cannot be read")?;
        Ok(Some(Self { units, abbrev }))
    }

    /// The members of these structures, of any package, as far as they are described, found in one go.
    pub fn structures(&self, names: &[&str]) -> Result<Structures> {
        let mut found = Structures::new();
        let read = self.each_unit(|_, header, abbreviations| {
            let mut entries = header.entries_raw(abbreviations, None)?;
            // Assembly files make further units of the same name, without types.
            if Entry::read(&mut entries)?.is_some_and(|root| root.is(RUNTIME)) {
                in_unit(&mut entries, names, &mut found)?;
            }
            Ok((found.len() == names.len()).then_some(()))
        });
        read.context("its .debug_info is damaged")?;
        Ok(found)
    }

    /// Until one of them is it. With each goes where it begins in `.debug_info`.
    fn each_unit<'s, T>(
        &'s self,
        mut take: impl FnMut(usize, UnitHeader<Slice<'s>>, &Abbreviations) -> gimli::Result<Option<T>>,
    ) -> gimli::Result<Option<T>> {
        let mut abbreviations = LastAbbreviations::new(&self.abbrev);
        for unit in &self.units {
            let Some(header) = header(&unit.bytes)? else {
                continue;
            };
            let abbreviations = abbreviations.of(&header)?;
            if let Some(found) = take(unit.at, header, abbreviations)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Kept {
    /// Of so many bytes of `.debug_info`, the units whose names are wanted.
    fn those(
        mut info: impl Read,
        len: u64,
        abbrev: &[u8],
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Self>> {
        let mut abbreviations = LastAbbreviations::new(abbrev);
        let (mut at, mut kept, mut buffer) = (0, Vec::new(), Vec::new());
        while at < len as usize {
            let bytes = read_unit(&mut info, len - at as u64, &mut buffer)?;
            if let Some(header) = header(bytes)? {
                let mut entries = header.entries_raw(abbreviations.of(&header)?, None)?;
                let root = Entry::read(&mut entries)?;
                let name = root.and_then(|root| root.name);
                // Go's linker names all of them, excerpts for tests do not.
                if name.is_none_or(|name| is_wanted(&name.to_string_lossy())) {
                    let bytes = bytes.to_vec();
                    kept.push(Self { at, bytes });
                }
            }
            at += bytes.len();
        }
        Ok(kept)
    }
}

/// One with its header, of at most so many bytes. What the buffer held before is not cleared.
fn read_unit<'b>(info: &mut impl Read, most: u64, buffer: &'b mut Vec<u8>) -> Result<&'b mut [u8]> {
    let mut head = [0; 12];
    info.read_exact(&mut head[..4])?;
    let short = head.first_chunk().map_or(0, |len| u32::from_le_bytes(*len));
    let (head, len) = if short == LONG {
        info.read_exact(&mut head[4..])?;
        let len = head.last_chunk().map_or(0, |len| u64::from_le_bytes(*len));
        (&head[..], len)
    } else {
        ensure!(short < NO_LENGTH, "a unit has no length");
        (&head[..4], short.into())
    };
    let len = len.saturating_add(head.len() as u64);
    ensure!(len <= most, "a unit is longer than the section");
    let len = len as usize;
    if buffer.len() < len {
        *buffer = vec![0; len];
    }
    let unit = &mut buffer[..len];
    let (first, rest) = unit.split_at_mut(head.len());
    first.copy_from_slice(head);
    info.read_exact(rest)?;
    Ok(unit)
}

/// That of the unit that these bytes are.
fn header(unit: &[u8]) -> gimli::Result<Option<UnitHeader<Slice<'_>>>> {
    DebugInfo::new(unit, LittleEndian).units().next()
}

/// Go's linker writes the same for all units.
struct LastAbbreviations<'a> {
    section: DebugAbbrev<Slice<'a>>,
    last: Option<(DebugAbbrevOffset, Abbreviations)>,
}

impl<'a> LastAbbreviations<'a> {
    fn new(section: &'a [u8]) -> Self {
        Self {
            section: DebugAbbrev::new(section, LittleEndian),
            last: None,
        }
    }

    fn of(&mut self, unit: &UnitHeader<Slice<'_>>) -> gimli::Result<&Abbreviations> {
        let offset = unit.debug_abbrev_offset();
        let (_, abbreviations) = match self.last.take().filter(|(of, _)| *of == offset) {
            Some(same) => self.last.insert(same),
            None => self
                .last
                .insert((offset, self.section.abbreviations(offset)?)),
        };
        Ok(abbreviations)
    }
}

/// Where goroutines keep their IDs; an error where that is not described.
pub fn layout(debug: &Sections) -> Result<GoLayout> {
    let found = debug.structures(&["runtime.g"])?;
    let members = found
        .get("runtime.g")
        .context("it does not describe runtime.g")?;
    let offset = |member| members.get(member).copied();
    Ok(GoLayout {
        goid: offset("goid").context("its runtime.g has no goid")?,
        parent_goid: offset("parentGoid"),
    })
}

/// Goes no further than the last of them.
fn in_unit(
    entries: &mut EntriesRaw<'_, Slice<'_>>,
    names: &[&str],
    found: &mut Structures,
) -> gimli::Result<()> {
    while !entries.is_empty() && found.len() < names.len() {
        let depth = entries.next_depth();
        let entry = Entry::read(entries)?.filter(|e| e.tag == gimli::DW_TAG_structure_type);
        let name = entry.and_then(|e| names.iter().find(|name| e.is(name)));
        if let Some(name) = name {
            found.insert((*name).to_owned(), members(entries, depth)?);
        }
    }
    Ok(())
}

/// Of the structure at this depth, whose first member comes next.
fn members(
    entries: &mut EntriesRaw<'_, Slice<'_>>,
    depth: isize,
) -> gimli::Result<HashMap<String, u32>> {
    let mut members = HashMap::new();
    while !entries.is_empty() && entries.next_depth() > depth {
        let member = Entry::read(entries)?;
        if let Some((name, at)) = member.and_then(|m| m.name.zip(m.location)) {
            members.insert(name.to_string_lossy().into_owned(), at);
        }
    }
    Ok(members)
}

/// What is needed of a debugging information entry.
struct Entry<'a> {
    tag: DwTag,
    name: Option<Slice<'a>>,
    /// Of a member: its offset in the structure, bytes.
    location: Option<u32>,
}

impl<'a> Entry<'a> {
    /// `None` for the mark behind the last entry of several siblings.
    fn read(entries: &mut EntriesRaw<'_, Slice<'a>>) -> gimli::Result<Option<Self>> {
        let Some(abbreviation) = entries.read_abbreviation()? else {
            return Ok(None);
        };
        let mut entry = Entry {
            tag: abbreviation.tag(),
            name: None,
            location: None,
        };
        for attribute in abbreviation.attributes() {
            let attribute = entries.read_attribute(*attribute)?;
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_name, AttributeValue::String(name)) => entry.name = Some(name),
                (gimli::DW_AT_data_member_location, value) => {
                    entry.location = value.udata_value().and_then(|at| at.try_into().ok());
                }
                _ => {}
            }
        }
        Ok(Some(entry))
    }

    fn is(&self, name: &str) -> bool {
        self.name.is_some_and(|own| own.slice() == name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Excerpts of real programs: `testdata/README.md`.
    const AMD64: &[u8] = include_bytes!("../testdata/go1.27.3-amd64.elf");
    const ARM64: &[u8] = include_bytes!("../testdata/go1.27.3-arm64.elf");
    const STRIPPED: &[u8] = include_bytes!("../testdata/go1.27.3-amd64-stripped.elf");

    fn layout_in(bytes: &[u8]) -> Result<Option<GoLayout>> {
        let debug = Sections::read(&Executable::of(&bytes)?, |_| false)?;
        debug.as_ref().map(layout).transpose()
    }

    #[test]
    fn reads_what_the_go_linker_wrote() {
        let real = GoLayout {
            goid: 152,
            parent_goid: Some(280),
        };
        for bytes in [AMD64, ARM64] {
            assert_eq!(layout_in(bytes).expect("readable"), Some(real));
        }
    }

    #[test]
    fn keeps_the_units_that_are_wanted() {
        let unit = |name: &str| {
            let mut unit = vec![5, 0, 1, 8, 0, 0, 0, 0, 1]; // DWARF 5, a whole unit, root
            unit.extend(name.bytes().chain([0, 0]));
            let len = (unit.len() as u32).to_le_bytes();
            [&len[..], &unit].concat()
        };
        let abbrev = [1, 0x11, 0, 0x03, 0x08, 0, 0, 0]; // DW_TAG_compile_unit: DW_AT_name
        let info = [unit("a"), unit("wanted"), unit("b"), unit("wanted")].concat();
        let those = |info: &[u8]| {
            let len = info.len() as u64;
            Kept::those(info, len, &abbrev, |name| name == "wanted")
        };
        let kept = those(&info).expect("readable");
        let [first, second] = &kept[..] else {
            panic!("{kept:?}")
        };
        let len = unit("wanted").len();
        assert_eq!((first.at, second.at), (unit("a").len(), info.len() - len));
        assert!(
            kept.iter()
                .all(|unit| unit.bytes == info[info.len() - len..])
        );
        assert!(those(&info[..info.len() - 1]).is_err(), "cut off");
        let sections = Sections {
            units: kept,
            abbrev: abbrev.to_vec(),
        };
        let mut begin = Vec::new();
        let all = sections.each_unit(|at, _, _| {
            begin.push(at);
            Ok(None::<()>)
        });
        assert_eq!((all.expect("readable"), begin.len()), (None, 2));
    }

    #[test]
    fn a_stripped_program_says_nothing() {
        assert_eq!(layout_in(STRIPPED).expect("readable"), None);
    }

    #[test]
    fn debugging_information_without_the_goroutine_is_an_error() {
        let mut bytes = AMD64.to_vec();
        let name = b"runtime.g\0";
        let at = bytes.windows(name.len()).position(|window| window == name);
        bytes[at.expect("named in the sample")] = b'x';
        let error = layout_in(&bytes).expect_err("no runtime.g").to_string();
        assert!(error.contains("runtime.g"), "{error}");
    }

    proptest! {
        #[test]
        fn damage_is_survived(at in 0..AMD64.len(), byte in any::<u8>(), cut in 0..AMD64.len()) {
            let mut bytes = AMD64.to_vec();
            bytes[at] = byte;
            let _ = layout_in(&bytes);
            let _ = layout_in(&AMD64[..cut]);
        }
    }
}
