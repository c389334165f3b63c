//! Lists of locations. A server has 20 to 50 MB of them, of which some dozens are needed: the section is unpacked once, and each list
//! read as it passes.

use std::io::{self, Read};

use anyhow::Result;
use gimli::{DebugAddr, DebugLoc, DebugLocLists, LittleEndian, LocationLists, LocationListsOffset};

use super::{DwarfSlice, FoundLocal, Location, pieces};

/// Longest list that is read, bytes. Those of a server have up to 2 kB.
const LONGEST: usize = 64 << 10;

/// Reads the locations of these, in the order of their lists, from the section.
pub(super) fn read(
    section: impl Read,
    wanted: &mut [&mut FoundLocal],
    addresses: &DebugAddr<DwarfSlice<'_>>,
) -> Result<()> {
    let mut passing = PassingSection {
        section,
        at: 0,
        bytes: Vec::new(),
    };
    for found in wanted {
        let list = passing.from(found.list.unwrap_or(0))?;
        found.local.locations = locations(list, found, addresses)?;
    }
    Ok(())
}

/// The locations of the list that begins with these bytes.
fn locations(
    list: &[u8],
    found: &FoundLocal,
    addresses: &DebugAddr<DwarfSlice<'_>>,
) -> gimli::Result<Vec<Location>> {
    let lists = LocationLists::new(
        DebugLoc::new(list, LittleEndian),
        DebugLocLists::new(list, LittleEndian),
    );
    let bases = found.bases;
    let mut list = lists.locations(
        LocationListsOffset(0),
        bases.encoding,
        bases.low,
        addresses,
        bases.addresses,
    )?;
    let mut locations = Vec::new();
    while let Some(entry) = list.next()? {
        let code = entry.range.begin..entry.range.end;
        let pieces = pieces(entry.data, bases.encoding);
        locations.extend(pieces.map(|pieces| Location { code, pieces }));
    }
    Ok(locations)
}

/// The part of a section that passes.
struct PassingSection<R> {
    section: R,
    /// Where `bytes` begin in the section.
    at: usize,
    bytes: Vec<u8>,
}

impl<R: Read> PassingSection<R> {
    /// The bytes from this offset on, which is not before the last one.
    fn from(&mut self, offset: usize) -> io::Result<&[u8]> {
        let over = offset.saturating_sub(self.at);
        if over < self.bytes.len() {
            self.bytes.drain(..over);
        } else {
            let rest = (over - self.bytes.len()) as u64;
            io::copy(&mut self.section.by_ref().take(rest), &mut io::sink())?;
            self.bytes.clear();
        }
        self.at = offset;
        let more = LONGEST.saturating_sub(self.bytes.len()) as u64;
        let section = self.section.by_ref();
        section.take(more).read_to_end(&mut self.bytes)?;
        Ok(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_passes_once() {
        let section: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let mut passing = PassingSection {
            section: &section[..],
            at: 0,
            bytes: Vec::new(),
        };
        for at in [0, 5, 5, 100_000, 120_000, 199_999, 200_000, 300_000] {
            let here = passing.from(at).expect("readable");
            let end = section.len().min(at + LONGEST);
            assert_eq!(here, section.get(at..end).unwrap_or_default(), "{at}");
        }
    }
}
