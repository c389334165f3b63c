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
    Architecture, CompressedFileRange, CompressionFormat, Endianness, ReadCache, ReadRef,
    elf::{
        ELFCOMPRESS_ZLIB, EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, FileHeader64,
        SectionHeader64,
    },
    read::elf::{CompressionHeader, FileHeader, SectionHeader},
};

/// Most headers of sections. Go programs have 30; every user may start a program that claims to have more.
const MAX_HEADERS: usize = 4096;
/// Bytes read of the file at once.
const AT_ONCE: usize = 64 * 1024;
/// zlib makes at most so many bytes of one (<https://www.zlib.net/zlib_tech.html>).
const MAX_RATIO: u64 = 1032;

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;

/// The sections that are read, with the most bytes of each, uncompressed: several times a server's largest. Few whole sections are held
/// in memory: of `.debug_info` what is of interest, of lists, names and functions a window.
const SECTIONS: [(&str, u64); 15] = [
    // Only where they are is read of these four.
    (".data.rel.ro", 0),
    (".data.rel.ro.go.type", 0),
    (".go.type", 0),
    (".rodata", 0),
    (".debug_abbrev", MB),
    (".debug_addr", 64 * MB),
    (".debug_info", 1024 * MB),
    (".debug_loc", 256 * MB),
    (".debug_loclists", 256 * MB),
    // Read of every process that may be a server by its name.
    (".go.buildinfo", 512 * KB),
    (".gopclntab", 256 * MB),
    // Position-independent programs have it where it can be relocated.
    (".data.rel.ro.gopclntab", 256 * MB),
    (".strtab", 128 * MB),
    (".symtab", 64 * MB),
    // Read in parts.
    (".text", u64::MAX),
];

mod window;

pub(crate) use self::window::Window;

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
    /// Whether it can be as large as it claims to be.
    is_sound: bool,
    /// Most bytes, uncompressed.
    most: u64,
}

impl<'a> Executable<'a> {
    /// Reads the headers; fails if it is no ELF file.
    pub(crate) fn open(file: &'a File) -> Result<Self> {
        let cache = ReadCache::new(file);
        Self::parse(&cache, file)
    }

    /// Reads no more than the headers of sections and their names: what else they describe may be of any size.
    fn parse<'d, R: ReadRef<'d>>(headers: R, source: &'a dyn Source) -> Result<Self> {
        let header = FileHeader64::<Endianness>::parse(headers);
        let header = header.context("its executable is not an ELF file of 64 bits")?;
        let order = header.endian()?;
        let count = header.shnum(order, headers)?;
        ensure!(count <= MAX_HEADERS, "its executable has {count} sections");
        let table = header.sections(order, headers)?;
        let size = headers.len().ok().context("its size is unknown")?;
        let find = |(name, most): (&'static str, u64)| {
            let (_, section) = table.section_by_name(order, name.as_bytes())?;
            let range = range(section, order, headers)?;
            let end = range.offset.checked_add(range.compressed_size)?;
            let least = range.uncompressed_size.div_ceil(MAX_RATIO);
            let section = Section {
                address: section.sh_addr(order),
                range,
                is_sound: end <= size && least <= range.compressed_size,
                most,
            };
            Some((name, section))
        };
        Ok(Self {
            source,
            machine: machine(header.e_machine(order)),
            entry: header.e_entry(order),
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

    /// A section to be read in any order, a small part at once; `None` if it has none of that name.
    pub(crate) fn window(&self, name: &str) -> Result<Option<Window<'a>>> {
        let Some(section) = self.sections.get(name) else {
            return Ok(None);
        };
        let range = section.range;
        if range.format != CompressionFormat::None {
            return Ok(self.section(name)?.map(Window::of));
        }
        ensure!(section.is_sound, "its {name} is damaged");
        Ok(Some(Window::new(
            self.source,
            range.offset,
            range.compressed_size,
        )))
    }

    /// The uncompressed size of a section and a reader of it; `None` if it has none of that name.
    pub(crate) fn stream(&self, name: &str) -> Result<Option<(u64, Box<dyn Read + 'a>)>> {
        let Some(section) = self.sections.get(name) else {
            return Ok(None);
        };
        let range = section.range;
        ensure!(section.is_sound, "its {name} is damaged");
        ensure!(
            range.uncompressed_size <= section.most,
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

/// Where a section is in the file; `None` if it is not there.
fn range<'d, R: ReadRef<'d>>(
    section: &SectionHeader64<Endianness>,
    order: Endianness,
    file: R,
) -> Option<CompressedFileRange> {
    let Some((header, offset, compressed_size)) = section.compression(order, file).ok()? else {
        let (offset, size) = section.file_range(order)?;
        return Some(CompressedFileRange {
            format: CompressionFormat::None,
            offset,
            compressed_size: size,
            uncompressed_size: size,
        });
    };
    Some(CompressedFileRange {
        format: match header.ch_type(order) {
            ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
            _ => CompressionFormat::Unknown,
        },
        offset,
        compressed_size,
        uncompressed_size: header.ch_size(order),
    })
}

/// `e_machine`, as far as Go has compilers for it.
fn machine(number: u16) -> Architecture {
    match number {
        EM_X86_64 => Architecture::X86_64,
        EM_AARCH64 => Architecture::Aarch64,
        EM_386 => Architecture::I386,
        EM_PPC64 => Architecture::PowerPc64,
        EM_RISCV => Architecture::Riscv64,
        EM_S390 => Architecture::S390x,
        _ => Architecture::Unknown,
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
mod tests;
