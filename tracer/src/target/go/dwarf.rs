//! The layout of `runtime.g` from the executable's own debugging information.
//!
//! The Go linker collects the types of the whole program in a unit of package `runtime`, and writes
//! names inline (`cmd/link/internal/ld/dwarf.go`: `runtimeCU`, `DW_FORM_string`). So only the units
//! of that name are read, entry by entry and no further than needed, and of the sections only
//! `.debug_info` and `.debug_abbrev`: a real server has 46 MB of the first alone.

use std::{borrow::Cow, collections::HashMap};

use anyhow::{Context, Result, ensure};
use gimli::{AttributeValue, DebugAbbrev, DebugInfo, DwTag, EndianSlice, EntriesRaw, LittleEndian};
use object::{Object, ObjectSection, ReadRef};

use super::GoLayout;

pub mod parameters;

/// Uncompressed size beyond which a section is not believed, bytes. Twenty times a server's.
const MAX_SECTION: u64 = 1 << 30;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Of each structure, the members' names and offsets, bytes.
pub type Structures = HashMap<String, HashMap<String, u32>>;

/// The sections that say what there is, uncompressed.
#[derive(Debug)]
pub struct Sections<'a> {
    info: Cow<'a, [u8]>,
    abbrev: Cow<'a, [u8]>,
}

impl<'a> Sections<'a> {
    /// `None` where the executable was stripped.
    pub fn read<R: ReadRef<'a>>(file: &object::File<'a, R>) -> Result<Option<Self>> {
        let Some(info) = section(file, ".debug_info")? else {
            return Ok(None);
        };
        let abbrev = section(file, ".debug_abbrev")?.context("it lacks .debug_abbrev")?;
        Ok(Some(Self { info, abbrev }))
    }

    /// The members of these structures, of any package, as far as they are described, found in one go.
    pub fn structures(&self, names: &[&str]) -> Result<Structures> {
        in_units(&self.info, &self.abbrev, names).context("its .debug_info is damaged")
    }
}

/// `None` where the executable was stripped of it; an error where it is there but says nothing of
/// `runtime.g`.
pub fn layout<'a, R: ReadRef<'a>>(file: &object::File<'a, R>) -> Result<Option<GoLayout>> {
    let Some(offsets) = fields(file, "runtime.g", &["goid", "parentGoid"])? else {
        return Ok(None);
    };
    let goid = offsets[0].context("its runtime.g has no goid")?;
    Ok(Some(GoLayout {
        goid,
        parent_goid: offsets[1],
    }))
}

/// Offsets of members of a structure of package `runtime`, in the order asked for; `None` where the
/// executable was stripped, an error where it does not describe the structure.
pub fn fields<'a, R: ReadRef<'a>>(
    file: &object::File<'a, R>,
    structure: &str,
    members: &[&str],
) -> Result<Option<Vec<Option<u32>>>> {
    let Some(found) = structures(file, &[structure])? else {
        return Ok(None);
    };
    let found = found
        .get(structure)
        .with_context(|| format!("it does not describe {structure}"))?;
    let offsets = members.iter().map(|member| found.get(*member).copied());
    Ok(Some(offsets.collect()))
}

/// [`Sections::structures`]; `None` where the executable was stripped.
pub fn structures<'a, R: ReadRef<'a>>(
    file: &object::File<'a, R>,
    names: &[&str],
) -> Result<Option<Structures>> {
    let sections = Sections::read(file)?;
    sections
        .map(|sections| sections.structures(names))
        .transpose()
}

fn section<'a, R: ReadRef<'a>>(
    file: &object::File<'a, R>,
    name: &str,
) -> Result<Option<Cow<'a, [u8]>>> {
    let Some(section) = file.section_by_name(name) else {
        return Ok(None);
    };
    let read = || format!("its {name} cannot be read");
    let data = section.compressed_data().with_context(read)?;
    ensure!(
        data.uncompressed_size <= MAX_SECTION,
        "its {name} is too large"
    );
    data.decompress().with_context(read).map(Some)
}

fn in_units(info: &[u8], abbrev: &[u8], names: &[&str]) -> gimli::Result<Structures> {
    let abbrev = DebugAbbrev::new(abbrev, LittleEndian);
    let mut units = DebugInfo::new(info, LittleEndian).units();
    let mut found = Structures::new();
    while let Some(unit) = units.next()? {
        let abbreviations = unit.abbreviations(&abbrev)?;
        let mut entries = unit.entries_raw(&abbreviations, None)?;
        // Assembly files make further units of the same name, without types.
        if Entry::read(&mut entries)?.is_some_and(|root| root.is("runtime")) {
            in_unit(&mut entries, names, &mut found)?;
        }
        if found.len() == names.len() {
            break;
        }
    }
    Ok(found)
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
    use object::ReadCache;
    use proptest::prelude::*;

    use super::*;

    /// Excerpts of real programs: `testdata/README.md`.
    const AMD64: &[u8] = include_bytes!("../testdata/go1.27.3-amd64.elf");
    const ARM64: &[u8] = include_bytes!("../testdata/go1.27.3-arm64.elf");
    const STRIPPED: &[u8] = include_bytes!("../testdata/go1.27.3-amd64-stripped.elf");

    fn layout_in(bytes: &[u8]) -> Result<Option<GoLayout>> {
        layout(&object::File::parse(bytes)?)
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
    fn reads_a_file_piece_by_piece() {
        let cache = ReadCache::new(std::io::Cursor::new(AMD64));
        let file = object::File::parse(&cache).expect("an ELF file");
        assert!(layout(&file).expect("readable").is_some());
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
