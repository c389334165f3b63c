//! A program's ELF file, of which only the needed sections are read, in small parts: a real server's has 180 MB.
//! Nothing is mapped: if the file is replaced or its disk fails, reading is an error, not a signal.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    os::unix::fs::FileExt,
};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::ZlibDecoder;
use object::{
    Architecture, CompressedFileRange, CompressionFormat, Object, ObjectSection, ReadCache, ReadRef,
};

/// Most bytes of an uncompressed section. Twenty times a server's largest.
const MAX_SECTION: u64 = 1 << 30;
/// Bytes read of the file at once.
const AT_ONCE: usize = 64 * 1024;

/// The sections that are read.
const SECTIONS: [&str; 15] = [
    ".data.rel.ro",
    ".data.rel.ro.go.type",
    ".debug_abbrev",
    ".debug_addr",
    ".debug_info",
    ".debug_loc",
    ".debug_loclists",
    ".go.buildinfo",
    ".go.type",
    ".gopclntab",
    // Position-independent programs have it where it can be relocated.
    ".data.rel.ro.gopclntab",
    ".rodata",
    ".strtab",
    ".symtab",
    ".text",
];

/// A file, or bytes in memory.
pub(crate) trait Source {
    /// Reads up to the buffer's length from this offset on; 0 at the end.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Source for File {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }
}

/// An ELF file.
pub(crate) struct Executable<'a> {
    source: &'a dyn Source,
    machine: Architecture,
    entry: u64,
    sections: HashMap<&'static str, Section>,
}

#[derive(Clone, Copy)]
struct Section {
    /// Its address in memory, before relocation.
    address: u64,
    /// Where it is in the file.
    range: CompressedFileRange,
}

impl<'a> Executable<'a> {
    /// Reads the headers; fails if it is no ELF file.
    pub(crate) fn open(file: &'a File) -> Result<Self> {
        let cache = ReadCache::new(file);
        Self::parse(&cache, file)
    }

    fn parse<'d, R: ReadRef<'d>>(headers: R, source: &'a dyn Source) -> Result<Self> {
        let elf = object::File::parse(headers).context("its executable is not an ELF file")?;
        let find = |name: &'static str| {
            let section = elf.section_by_name(name)?;
            let range = section.compressed_file_range().ok()?;
            let address = section.address();
            Some((name, Section { address, range }))
        };
        Ok(Self {
            source,
            machine: elf.architecture(),
            entry: elf.entry(),
            sections: SECTIONS.into_iter().filter_map(find).collect(),
        })
    }

    pub(crate) fn machine(&self) -> Architecture {
        self.machine
    }

    /// The address of its first instruction, before relocation.
    pub(crate) fn entry(&self) -> u64 {
        self.entry
    }

    /// The address of a section, before relocation; `None` if it has none of that name.
    pub(crate) fn address(&self, name: &str) -> Option<u64> {
        self.sections.get(name).map(|section| section.address)
    }

    /// The addresses of a section, before relocation; `None` if it has none of that name.
    pub(crate) fn range(&self, name: &str) -> Option<Range<u64>> {
        let section = self.sections.get(name)?;
        let end = section
            .address
            .checked_add(section.range.uncompressed_size)?;
        Some(section.address..end)
    }

    /// A whole section, uncompressed; `None` if it has none of that name.
    pub(crate) fn section(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((size, mut reader)) = self.stream(name)? else {
            return Ok(None);
        };
        let mut bytes = vec![0; size as usize];
        let read = reader.read_exact(&mut bytes);
        read.with_context(|| format!("its {name} cannot be read"))?;
        Ok(Some(bytes))
    }

    /// The uncompressed size of a section and a reader of it; `None` if it has none of that name.
    pub(crate) fn stream(&self, name: &str) -> Result<Option<(u64, Box<dyn Read + 'a>)>> {
        let Some(Section { range, .. }) = self.sections.get(name) else {
            return Ok(None);
        };
        ensure!(
            range.uncompressed_size <= MAX_SECTION,
            "its {name} is too large"
        );
        let range_of_file = FileRange {
            source: self.source,
            at: range.offset,
            remaining: range.compressed_size,
        };
        let range_of_file = BufReader::with_capacity(AT_ONCE, range_of_file);
        let size = range.uncompressed_size;
        Ok(Some((
            size,
            match range.format {
                CompressionFormat::None => Box::new(range_of_file),
                CompressionFormat::Zlib => Box::new(ZlibDecoder::new(range_of_file)),
                format => bail!("its {name} is compressed in an unknown way ({format:?})"),
            },
        )))
    }

    /// The offset in the file of the code at this address, before relocation, bytes.
    pub(crate) fn offset_of_code(&self, address: u64) -> Option<u64> {
        self.code_range(address, 1)
    }

    /// The same, if so many bytes of code follow.
    fn code_range(&self, address: u64, len: u64) -> Option<u64> {
        let text = self.sections.get(".text")?;
        let from = address.checked_sub(text.address)?;
        let inside = from.checked_add(len)? <= text.range.compressed_size;
        let is_plain = text.range.format == CompressionFormat::None;
        (inside && is_plain).then(|| text.range.offset.checked_add(from))?
    }

    /// `len` bytes of its code at this address, before relocation.
    pub(crate) fn code(&self, address: u64, len: u64) -> Option<Vec<u8>> {
        let mut range_of_file = FileRange {
            source: self.source,
            at: self.code_range(address, len)?,
            remaining: len,
        };
        let mut bytes = vec![0; len as usize];
        range_of_file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Reads a part of the file.
struct FileRange<'a> {
    source: &'a dyn Source,
    at: u64,
    remaining: u64,
}

impl Read for FileRange<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let read = self.source.read_at(&mut into[..len], self.at)?;
        self.at = self.at.saturating_add(read as u64);
        self.remaining -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Source for &[u8] {
        fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
            let rest = usize::try_from(at).ok().and_then(|at| self.get(at..));
            Read::read(&mut rest.unwrap_or_default(), into)
        }
    }

    impl<'a> Executable<'a> {
        /// Of these bytes.
        pub(crate) fn of(bytes: &'a &[u8]) -> Result<Self> {
            Self::parse(*bytes, bytes)
        }
    }

    const SAMPLE: &[u8] = include_bytes!("testdata/go1.27.3-amd64-parameters.elf");

    #[test]
    fn reads_sections_that_are_compressed_and_others() {
        let read = |bytes: &'static [u8], name| {
            let executable = Executable::of(&bytes).expect("an ELF file");
            executable.section(name).expect("readable")
        };
        let plain = include_bytes!("testdata/go1.27.3-amd64.elf");
        for name in [".debug_info", ".debug_abbrev", ".go.buildinfo"] {
            let other = object::File::parse(&plain[..]).expect("an ELF file");
            let expected = other.section_by_name(name).expect("in the sample");
            let expected = expected.data().expect("readable");
            assert_eq!(read(plain, name).as_deref(), Some(expected), "{name}");
        }
        // What it begins with: that of a unit, the number of an abbreviation.
        let unit = read(SAMPLE, ".debug_info").expect("in the sample");
        assert_eq!(unit[..6], [0x7e, 0, 0, 0, 5, 0]);
        assert_eq!(unit.len(), 702_547);
        assert_eq!(read(SAMPLE, ".bss"), None);
    }

    #[test]
    fn reads_a_file_as_it_reads_bytes() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/server/testdata/go1.27.3-amd64-parameters.elf"
        );
        let file = File::open(path).expect("opened");
        let from_file = Executable::open(&file).expect("an ELF file");
        let from_bytes = Executable::of(&SAMPLE).expect("an ELF file");
        for name in SECTIONS {
            let [a, b] = [&from_file, &from_bytes].map(|all| all.section(name).expect("readable"));
            assert_eq!(a, b, "{name}");
        }
    }

    #[test]
    fn reads_code_where_it_is_loaded() {
        let file = File::open("/proc/self/exe").expect("opened");
        let executable = Executable::open(&file).expect("an ELF file");
        let text = executable
            .section(".text")
            .expect("readable")
            .expect("code");
        let at = executable.address(".text").expect("code");
        assert_eq!(executable.code(at + 16, 32).as_deref(), Some(&text[16..48]));
        let len = text.len() as u64;
        for (from, len) in [(at - 1, 2), (at + len - 1, 2), (at, len + 1), (u64::MAX, 1)] {
            assert_eq!(executable.code(from, len), None);
        }
    }

    proptest! {
        #[test]
        fn damage_is_survived(at in 0..SAMPLE.len(), byte in any::<u8>(), cut in 0..SAMPLE.len()) {
            let mut bytes = SAMPLE.to_vec();
            bytes[at] = byte;
            for bytes in [&bytes[..], &bytes[..cut]] {
                let Ok(executable) = Executable::of(&bytes) else {
                    continue;
                };
                for name in SECTIONS {
                    let _ = executable.section(name);
                }
                let _ = executable.code(executable.entry(), 64);
            }
        }
    }
}
