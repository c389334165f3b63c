//! The executable's own debugging information: layouts of structures, variables of functions.
//!
//! The Go linker collects the types of the whole program in a unit of package `runtime`, and writes
//! names inline (`cmd/link/internal/ld/dwarf.go`: `runtimeCU`, `DW_FORM_string`). So only the units
//! of that name are read, entry by entry and no further than needed, and of the sections only
//! `.debug_info` and `.debug_abbrev`: a real server has 46 to 108 MB of the first alone, which are unpacked
//! once, unit by unit; only units of interest are kept, 12 to 33 MB.

use std::collections::HashMap;

use anyhow::{Context, Result};
use gimli::{Abbreviations, EndianSlice, EntriesRaw, LittleEndian, UnitHeader};

use self::{
    entry::DebugEntry,
    units::{AbbreviationCache, UnitBytes, header},
};
use super::GoLayout;
use crate::server::executable::Executable;

pub(crate) mod entry;
pub(crate) mod local;
mod locals;
mod units;

/// The package whose units have the types.
const RUNTIME: &str = "runtime";
type DwarfSlice<'a> = EndianSlice<'a, LittleEndian>;

/// Of each structure, the members' names and offsets, bytes.
pub(crate) type Structures = HashMap<String, HashMap<String, u32>>;

/// The parts of `.debug_info` and `.debug_abbrev` that are needed, uncompressed.
#[derive(Debug)]
pub(crate) struct Sections {
    units: Vec<UnitBytes>,
    abbrev: Vec<u8>,
}

impl Sections {
    /// Reads the types, and the functions of these packages. `None` if the executable was stripped.
    pub(crate) fn read(
        executable: &Executable<'_>,
        is_package: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>> {
        let Some((len, info)) = executable.stream(".debug_info")? else {
            return Ok(None);
        };
        let abbrev = executable.section(".debug_abbrev")?;
        let abbrev = abbrev.context("it lacks .debug_abbrev")?;
        let is_wanted = |name: &str| name == RUNTIME || is_package(name);
        let units = UnitBytes::read_wanted(info, len, &abbrev, is_wanted);
        let units = units.context("its .debug_info cannot be read")?;
        Ok(Some(Self { units, abbrev }))
    }

    /// The members of these structures, of any package, as far as they are described, found in one go.
    pub(crate) fn structures(&self, names: &[&str]) -> Result<Structures> {
        let mut found = Structures::new();
        let read = self.each_unit(|_, header, abbreviations| {
            let mut entries = header.entries_raw(abbreviations, None)?;
            // Assembly files make further units of the same name, without types.
            if DebugEntry::read(&mut entries)?.is_some_and(|root| root.is(RUNTIME)) {
                in_unit(&mut entries, names, &mut found)?;
            }
            Ok((found.len() == names.len()).then_some(()))
        });
        read.context("its .debug_info is damaged")?;
        Ok(found)
    }

    /// Passes each unit, with its offset in `.debug_info`, until `take` returns something.
    fn each_unit<'s, T>(
        &'s self,
        mut take: impl FnMut(
            usize,
            UnitHeader<DwarfSlice<'s>>,
            &Abbreviations,
        ) -> gimli::Result<Option<T>>,
    ) -> gimli::Result<Option<T>> {
        let mut abbreviations = AbbreviationCache::new(&self.abbrev);
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

/// Where goroutines have their IDs; fails if that is not described.
pub(crate) fn layout(debug: &Sections) -> Result<GoLayout> {
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

/// Reads no further than the last of these structures.
fn in_unit(
    entries: &mut EntriesRaw<'_, DwarfSlice<'_>>,
    names: &[&str],
    found: &mut Structures,
) -> gimli::Result<()> {
    while !entries.is_empty() && found.len() < names.len() {
        let depth = entries.next_depth();
        let entry = DebugEntry::read(entries)?;
        let entry = entry.filter(|e| e.tag == Some(gimli::DW_TAG_structure_type));
        let name = entry.and_then(|e| names.iter().find(|name| e.is(name)));
        if let Some(name) = name {
            let members = entry::members(entries, depth)?.into_iter();
            let offsets = members.map(|(name, member)| (name, member.offset));
            found.insert((*name).to_owned(), offsets.collect());
        }
    }
    Ok(())
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
        let read = |info: &[u8]| {
            let len = info.len() as u64;
            UnitBytes::read_wanted(info, len, &abbrev, |name| name == "wanted")
        };
        let kept = read(&info).expect("readable");
        let [first, second] = &kept[..] else {
            panic!("{kept:?}")
        };
        let len = unit("wanted").len();
        assert_eq!((first.at, second.at), (unit("a").len(), info.len() - len));
        assert!(
            kept.iter()
                .all(|unit| unit.bytes == info[info.len() - len..])
        );
        assert!(read(&info[..info.len() - 1]).is_err(), "cut off");
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
    fn a_stripped_program_has_none() {
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
