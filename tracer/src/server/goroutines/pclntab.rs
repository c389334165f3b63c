//! The table of functions that every Go program carries for its own tracebacks, stripped or not
//! (`runtime/symtab.go`: `pcHeader`, `functab`, `_func`; `cmd/link/internal/ld/pcln.go`).

use std::ops::Range;

use anyhow::{Context, Result};

use crate::server::executable::Executable;

/// Position-independent programs have it where it can be relocated.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Since Go 1.20 (`internal/abi/symtab.go`).
const MAGIC: u32 = 0xffff_fff1;
/// Bytes of an entry: where the function begins, where its description is, both relative.
const ENTRY: usize = 8;

/// The table.
#[derive(Debug)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    /// Where the described code begins.
    text: u64,
}

impl<'a> Table<'a> {
    /// `into`: the buffer for its bytes.
    pub(super) fn read(executable: &Executable<'_>, into: &'a mut Vec<u8>) -> Result<Self> {
        let has = |name: &&str| executable.address(name).is_some();
        let name = SECTIONS
            .into_iter()
            .find(has)
            .context("it has no .gopclntab")?;
        let text = executable.address(".text").context("it has no .text")?;
        *into = executable.section(name)?.unwrap_or_default();
        Self::of(into, text).context("its .gopclntab is of an unknown version of Go")
    }

    /// `text`: where the code begins, if the table does not contain that: since Go 1.26 it does not, and before that it
    /// is 0 in position-independent programs until they are relocated.
    pub(super) fn of(bytes: &'a [u8], text: u64) -> Option<Self> {
        let table = Self { bytes, text };
        let known = table.half(0)? == MAGIC && *bytes.get(7)? == 8;
        let own = table.word(24).filter(|own| *own != 0);
        known.then(|| Self {
            text: own.unwrap_or(text),
            ..table
        })
    }

    fn half(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    fn word(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// The bytes from the offset in the header on.
    fn part(&self, at: usize) -> Option<&'a [u8]> {
        self.bytes.get(usize::try_from(self.word(at)?).ok()?..)
    }

    /// Each function's name, and where it is.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&'a [u8], Range<u64>)> {
        let count = self.word(8).map_or(0, |count| count as usize);
        let names = self.part(32).unwrap_or_default();
        let functions = self.part(64).unwrap_or_default();
        let entries = functions.chunks_exact(ENTRY).take(count);
        let next = functions.get(ENTRY..).unwrap_or_default().chunks(ENTRY);
        let text = self.text;
        entries.zip(next).filter_map(move |(entry, next)| {
            let start = half(entry)?;
            let name = half(functions.get(half(entry.get(4..)?)? as usize + 4..)?)?;
            let name = names
                .get(name as usize..)?
                .split(|byte| *byte == 0)
                .next()?;
            let at = |offset: u32| text.wrapping_add(offset.into());
            Some((name, at(start)..at(half(next)?)))
        })
    }
}

fn half(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|half| u32::from_le_bytes(*half))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the linker writes it, with these functions of 16 bytes each.
    pub(in super::super) fn table(names: &[&str], text: u64) -> Vec<u8> {
        let header = 72;
        let (mut entries, mut described, mut strings) = (Vec::new(), Vec::new(), Vec::new());
        let descriptions = names.len() * ENTRY + 4;
        for (i, name) in names.iter().enumerate() {
            let entry = [16 * i as u32, (descriptions + described.len()) as u32];
            entries.extend(entry.map(u32::to_le_bytes).concat());
            let description = [16 * i as u32, strings.len() as u32];
            described.extend(description.map(u32::to_le_bytes).concat());
            strings.extend(name.bytes().chain([0]));
        }
        entries.extend((16 * names.len() as u32).to_le_bytes());
        let mut table = MAGIC.to_le_bytes().to_vec();
        table.extend([0, 0, 1, 8]);
        let functions = header + strings.len() as u64;
        for word in [names.len() as u64, 0, text, header, 0, 0, 0, functions] {
            table.extend(word.to_le_bytes());
        }
        table.extend(strings.into_iter().chain(entries).chain(described));
        table
    }

    fn functions(bytes: &[u8]) -> Option<Vec<(String, Range<u64>)>> {
        let table = Table::of(bytes, 0x1000)?;
        let owned = |(name, at): (&[u8], _)| (String::from_utf8_lossy(name).into_owned(), at);
        Some(table.functions().map(owned).collect())
    }

    #[test]
    fn reads_names_and_addresses() {
        let names = ["main.main", "runtime.gopark"];
        let found = functions(&table(&names, 0)).expect("a table");
        let expected = [(names[0], 0x1000..0x1010), (names[1], 0x1010..0x1020)];
        assert_eq!(found, expected.map(|(name, at)| (name.to_owned(), at)));
        let found = functions(&table(&names, 0x2000)).expect("a table");
        assert_eq!(
            found[0].1,
            0x2000..0x2010,
            "it says itself where the code begins"
        );
    }

    #[test]
    fn other_versions_are_not_guessed_at() {
        let mut old = table(&["main.main"], 0);
        old[0] = 0xf0; // Go 1.18
        assert_eq!(functions(&old), None);
        assert_eq!(functions(&[]), None);
    }

    proptest! {
        #[test]
        fn damage_is_survived(at in 0..140usize, byte in any::<u8>(), cut in 0..140usize) {
            let mut bytes = table(&["main.main", "runtime.gopark"], 0);
            if let Some(hit) = bytes.get_mut(at) {
                *hit = byte;
            }
            let _ = functions(&bytes);
            let _ = functions(&bytes[..cut.min(bytes.len())]);
        }
    }
}
