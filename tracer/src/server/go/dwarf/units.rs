//! Units of `.debug_info`, and their abbreviations.

use std::io::Read;

use anyhow::{Result, ensure};
use gimli::{Abbreviations, DebugAbbrev, DebugAbbrevOffset, DebugInfo, LittleEndian, UnitHeader};

use super::{DwarfSlice, entry::DebugEntry};

/// DWARF 5, 7.4: what precedes a length of 64 bits, and the least value that is no length of 32.
const LONG: u32 = 0xffff_ffff;
const NO_LENGTH: u32 = 0xffff_fff0;

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
        let (mut at, mut kept, mut buffer) = (0, Vec::new(), Vec::new());
        while at < len as usize {
            let bytes = read_unit(&mut info, len - at as u64, &mut buffer)?;
            if let Some(header) = header(bytes)? {
                let mut entries = header.entries_raw(abbreviations.of(&header)?, None)?;
                let root = DebugEntry::read(&mut entries)?;
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

/// Reads one with its header, of at most `most` bytes. The buffer is not cleared.
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
