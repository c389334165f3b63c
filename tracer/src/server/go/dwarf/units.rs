//! Units of `.debug_info`, and their abbreviations.

use std::io::{self, Read};

use anyhow::{Result, ensure};
use gimli::{Abbreviations, DebugAbbrev, DebugAbbrevOffset, DebugInfo, LittleEndian, UnitHeader};

use super::{DwarfSlice, entry::DebugEntry};

/// DWARF 5, 7.4: what precedes a length of 64 bits, and the least value that is no length of 32.
const LONG: u32 = 0xffff_ffff;
const NO_LENGTH: u32 = 0xffff_fff0;
/// More than the first entry of a unit takes: names of files and of a package, bytes.
const ROOT: usize = 16 << 10;

/// A unit of `.debug_info`.
#[derive(Debug)]
pub(super) struct UnitBytes {
    /// Where it begins in the section, bytes.
    pub(super) at: usize,
    pub(super) bytes: Vec<u8>,
}

impl UnitBytes {
    /// Reads `len` bytes of `.debug_info`; returns the units whose names are wanted.
    pub(super) fn read_wanted(
        mut info: impl Read,
        len: u64,
        abbrev: &[u8],
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Self>> {
        let mut abbreviations = AbbreviationCache::new(abbrev);
        let (mut at, mut kept) = (0, Vec::new());
        while at < len {
            let (unit_len, mut bytes) = begin_unit(&mut info, len - at)?;
            if is_wanted_unit(&bytes, &mut abbreviations, &is_wanted)? {
                let read = bytes.len();
                bytes.resize(unit_len, 0);
                info.read_exact(&mut bytes[read..])?;
                kept.push(Self {
                    at: at as usize,
                    bytes,
                });
            } else {
                let rest = (unit_len - bytes.len()) as u64;
                let skipped = io::copy(&mut info.by_ref().take(rest), &mut io::sink())?;
                ensure!(skipped == rest, "a unit is cut off");
            }
            at += unit_len as u64;
        }
        Ok(kept)
    }
}

/// The length of the next unit, which is at most `most`, and as many of its bytes as its name needs.
fn begin_unit(info: &mut impl Read, most: u64) -> Result<(usize, Vec<u8>)> {
    let mut bytes = vec![0; 4];
    info.read_exact(&mut bytes)?;
    let short = bytes
        .first_chunk()
        .map_or(0, |len| u32::from_le_bytes(*len));
    let len = if short == LONG {
        bytes.resize(12, 0);
        info.read_exact(&mut bytes[4..])?;
        bytes.last_chunk().map_or(0, |len| u64::from_le_bytes(*len))
    } else {
        ensure!(short < NO_LENGTH, "a unit has no length");
        short.into()
    };
    let len = len.saturating_add(bytes.len() as u64);
    ensure!(len <= most, "a unit is longer than the section");
    let head = bytes.len();
    bytes.resize((len as usize).min(ROOT.max(head)), 0);
    info.read_exact(&mut bytes[head..])?;
    Ok((len as usize, bytes))
}

/// By its name, which is in the first of its entries. `start`: the unit's beginning.
fn is_wanted_unit(
    start: &[u8],
    abbreviations: &mut AbbreviationCache<'_>,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<bool> {
    let mut start = start.to_vec();
    if start.starts_with(&LONG.to_le_bytes()) {
        let len = start.len() as u64 - 12;
        start[4..12].copy_from_slice(&len.to_le_bytes());
    } else {
        let len = start.len() as u32 - 4;
        start[..4].copy_from_slice(&len.to_le_bytes());
    }
    let Some(header) = header(&start)? else {
        return Ok(false);
    };
    let mut entries = header.entries_raw(abbreviations.of(&header)?, None)?;
    let root = DebugEntry::read(&mut entries)?;
    let name = root.and_then(|root| root.name);
    // Go's linker names all of them, excerpts for tests do not.
    Ok(name.is_none_or(|name| is_wanted(&name.to_string_lossy())))
}

/// `unit`: the bytes of a whole unit.
pub(super) fn header(unit: &[u8]) -> gimli::Result<Option<UnitHeader<DwarfSlice<'_>>>> {
    DebugInfo::new(unit, LittleEndian).units().next()
}

/// Go's linker writes the same for all units, so the last are enough.
pub(super) struct AbbreviationCache<'a> {
    section: DebugAbbrev<DwarfSlice<'a>>,
    last: Option<(DebugAbbrevOffset, Abbreviations)>,
}

impl<'a> AbbreviationCache<'a> {
    pub(super) fn new(section: &'a [u8]) -> Self {
        Self {
            section: DebugAbbrev::new(section, LittleEndian),
            last: None,
        }
    }

    pub(super) fn of(
        &mut self,
        unit: &UnitHeader<DwarfSlice<'_>>,
    ) -> gimli::Result<&Abbreviations> {
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
