//! What `.symtab` says: where the list of goroutines is, and the functions that tell something. A real
//! server has 178,000 symbols with 12 MB of names: only what is needed is kept.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ReadRef};

use super::{
    functions::{Functions, Known},
    method::{DeviceCode, Function, Method},
};

const LIST: &[u8] = b"runtime.allgs";

/// Bytes beyond which a section is not believed. Eighty times a server's.
const MAX_SECTION: u64 = 1 << 30;

/// What is kept.
#[derive(Debug)]
pub(super) struct Symbols {
    pub(super) list: u64,
    pub(super) functions: Functions,
    /// What the devices' types are called in the debugging information.
    pub(super) device_types: BTreeMap<String, DeviceCode>,
}

/// Fails where the program was stripped, or has no audit device.
pub(super) fn read<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, moved: u64) -> Result<Symbols> {
    let (table, names) = (section(file, ".symtab")?, section(file, ".strtab")?);
    collect(table, names, moved)
}

fn section<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, name: &str) -> Result<&'a [u8]> {
    let section = file.section_by_name(name);
    let section = section.context("the server was stripped of its symbols")?;
    let believed = section.size() <= MAX_SECTION;
    ensure!(believed, "the server's {name} is too large");
    section
        .data()
        .with_context(|| format!("the server's {name} cannot be read"))
}

fn collect(table: &[u8], names: &[u8], moved: u64) -> Result<Symbols> {
    let (mut list, mut functions, mut device_types) = (None, Vec::new(), BTreeMap::new());
    for symbol in table.chunks_exact(Symbol::SIZE).filter_map(Symbol::parse) {
        let name = symbol.name(names);
        if name == LIST {
            list = Some(symbol.at.wrapping_add(moved));
        } else if let Some(method) = Method::parse(name) {
            functions.extend(Known::of(method).map(|known| (symbol.range(moved), known)));
            device_types.extend(method.device_code().map(|code| (method.type_name(), code)));
        }
    }
    let is_device = |(_, known): &(_, Known)| matches!(known.role, Some(Function::Device(..)));
    ensure!(
        functions.iter().any(is_device),
        "the server has no audit device that this version of vault-tracer knows"
    );
    Ok(Symbols {
        list: list.context("the server has no runtime.allgs")?,
        functions: Functions::new(functions),
        device_types,
    })
}

/// `Elf64_Sym` (`include/uapi/linux/elf.h`), as far as it is needed.
struct Symbol {
    name: u32,
    at: u64,
    size: u64,
}

impl Symbol {
    const SIZE: usize = 24;

    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            name: u32::from_le_bytes(*bytes.first_chunk()?),
            at: u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?),
            size: u64::from_le_bytes(*bytes.get(16..)?.first_chunk()?),
        })
    }

    fn name<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        let name = names.get(self.name as usize..).unwrap_or_default();
        let end = name.iter().position(|byte| *byte == 0);
        &name[..end.unwrap_or(name.len())]
    }

    fn range(&self, moved: u64) -> Range<u64> {
        let start = self.at.wrapping_add(moved);
        start..start.saturating_add(self.size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::method::{Kind, Style},
        *,
    };

    const BACKEND: &str = "example.com/builtin/audit/socket.(*Backend).LogRequest";

    fn table(symbols: &[(&str, u64, u64)]) -> (Vec<u8>, Vec<u8>) {
        let (mut table, mut names) = (vec![0; Symbol::SIZE], vec![0]);
        for (name, at, size) in symbols {
            table.extend((names.len() as u64).to_le_bytes());
            table.extend(at.to_le_bytes());
            table.extend(size.to_le_bytes());
            names.extend(name.bytes().chain([0]));
        }
        (table, names)
    }

    #[test]
    fn keeps_what_tells_something() {
        let (table, names) = table(&[
            ("runtime.allgs", 0x50, 24),
            ("main.main", 0x60, 16),
            ("sync.(*RWMutex).Lock", 0x70, 16),
            (BACKEND, 0x80, 16),
        ]);
        let symbols = collect(&table, &names, 0x1000).expect("readable");
        assert_eq!(symbols.list, 0x1050);
        assert_eq!(symbols.functions.at(0x1068), None);
        let lock = symbols.functions.at(0x1078).expect("known");
        assert_eq!(
            (lock.role, &*lock.name),
            (Some(Function::Lock), "sync.(*RWMutex).Lock")
        );
        let backend = "example.com/builtin/audit/socket.Backend";
        let code = DeviceCode {
            kind: Kind::Socket,
            style: Style::Backend,
        };
        let types: Vec<_> = symbols.device_types.into_iter().collect();
        assert_eq!(types, [(backend.to_owned(), code)]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = |symbols: &[(&str, u64, u64)]| {
            let (table, names) = table(symbols);
            collect(&table, &names, 0).expect_err("missing").to_string()
        };
        assert!(error(&[(BACKEND, 0x80, 16)]).contains("runtime.allgs"));
        assert!(error(&[("runtime.allgs", 0x50, 24)]).contains("no audit device"));
    }

    #[test]
    fn a_stripped_program_is_an_error() {
        let bytes = include_bytes!("../testdata/go1.27.3-amd64-stripped.elf");
        let file = object::File::parse(&bytes[..]).expect("an ELF file");
        let error = read(&file, 0).expect_err("stripped").to_string();
        assert!(error.contains("symbols"), "{error}");
    }

    proptest! {
        #[test]
        fn damage_is_survived(at in 0..96usize, byte in any::<u8>(), cut in 0..80usize) {
            let (mut table, mut names) =
                table(&[("runtime.allgs", 0x50, 24), (BACKEND, u64::MAX, u64::MAX)]);
            if let Some(hit) = table.get_mut(at) {
                *hit = byte;
            }
            names.truncate(cut);
            let _ = collect(&table, &names, u64::from(byte) << 56);
        }
    }
}
