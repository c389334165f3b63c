//! The table of functions that every Go program carries for its own tracebacks, stripped or not
//! (`runtime/symtab.go`: `pcHeader`, `functab`, `_func`; `cmd/link/internal/ld/pcln.go`).

use std::ops::Range;

use anyhow::{Context, Result};

use crate::server::executable::{Executable, Window};

/// Position-independent programs have it where it can be relocated.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Since Go 1.20 (`internal/abi/symtab.go`).
const MAGIC: u32 = 0xffff_fff1;
/// Bytes of an entry: where the function begins, where its description is, both relative.
const ENTRY: usize = 8;
/// Bytes of the header, up to where the functions are.
const HEADER: usize = 72;

/// The table, of which a server has 50 to 100 MB: its parts are read in order, beside each other.
pub(super) struct Table<'a> {
    /// Where each function begins, and its description.
    entries: Window<'a>,
    descriptions: Window<'a>,
    names: Window<'a>,
    count: u64,
    /// Where these parts begin.
    functions_at: u64,
    names_at: u64,
    /// Where the described code begins.
    text: u64,
}

impl<'a> Table<'a> {
    pub(super) fn read(executable: &Executable<'a>) -> Result<Self> {
        let has = |name: &&str| executable.address(name).is_some();
        let name = SECTIONS
            .into_iter()
            .find(has)
            .context("it has no .gopclntab")?;
        let text = executable.address(".text").context("it has no .text")?;
        let part = || executable.window(name)?.context("it has no .gopclntab");
        Self::of([part()?, part()?, part()?], text)
            .context("its .gopclntab is of an unknown version of Go")
    }

    /// `parts`: its section, three times. `text`: where the code begins, if the table does not contain that: since Go 1.26 it does
    /// not, and before that it is 0 in position-independent programs until they are relocated.
    pub(super) fn of(parts: [Window<'a>; 3], text: u64) -> Option<Self> {
        let [mut entries, descriptions, names] = parts;
        let header: [u8; HEADER] = *entries.get(0, HEADER).ok()?.first_chunk()?;
        let word = |at: usize| {
            let bytes = header[at..].first_chunk();
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let known = half(&header)? == MAGIC && header[7] == 8;
        let own = Some(word(24)).filter(|own| *own != 0);
        known.then(|| Self {
            entries,
            descriptions,
            names,
            count: word(8),
            functions_at: word(64),
            names_at: word(32),
            text: own.unwrap_or(text),
        })
    }

    /// Passes each function's name, and where it is.
    pub(super) fn each_function(&mut self, mut take: impl FnMut(&[u8], Range<u64>)) {
        for index in 0..self.count {
            let Some((start, end, description)) = self.entry(index) else {
                return;
            };
            let at = |offset: u32| self.text.wrapping_add(offset.into());
            let at = at(start)..at(end);
            if let Some(name) = self.name(description) {
                take(name, at);
            }
        }
    }

    /// Where the function begins, where the next one does, and where it is described; `None` behind the last.
    fn entry(&mut self, index: u64) -> Option<(u32, u32, u32)> {
        let at = index.checked_mul(ENTRY as u64)?;
        let at = self.functions_at.checked_add(at)?;
        let bytes = self.entries.get(at, ENTRY + 4).ok()?;
        Some((half(bytes)?, half(bytes.get(8..)?)?, half(bytes.get(4..)?)?))
    }

    fn name(&mut self, description: u32) -> Option<&[u8]> {
        let at = self.functions_at.checked_add(u64::from(description) + 4)?;
        let name = half(self.descriptions.get(at, 4).ok()?)?;
        let at = self.names_at.checked_add(name.into())?;
        self.names.string(at).ok()
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

    /// The table in these bytes.
    pub(in super::super) fn of(bytes: &[u8], text: u64) -> Option<Table<'static>> {
        let part = || Window::of(bytes.to_vec());
        Table::of([part(), part(), part()], text)
    }

    fn functions(bytes: &[u8]) -> Option<Vec<(String, Range<u64>)>> {
        let mut functions = Vec::new();
        of(bytes, 0x1000)?.each_function(|name, at| {
            functions.push((String::from_utf8_lossy(name).into_owned(), at));
        });
        Some(functions)
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
