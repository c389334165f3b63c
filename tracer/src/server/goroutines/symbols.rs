//! The address of the list of goroutines, and the functions that show something. `.symtab` has both; where the
//! program was stripped of it, the runtime's own table has the functions, and the code of one of them refers to the
//! list. A real server has 178,000 symbols with 12 MB of names, which are
//! read through a window: only what is needed is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    ops::Range,
};

use anyhow::{Context, Result, ensure};

use super::{
    function_name::FunctionName,
    functions::{Functions, KnownFunction},
    machine_code,
    memory::word,
    pclntab,
    roles::{DeviceCode, FunctionRole, Variable},
    version::VersionVariables,
};
use crate::server::{
    executable::{Executable, Window},
    generation::AuditMark,
};

const LIST: &[u8] = b"runtime.allgs";
/// The function that adds to it (`runtime/proc.go`).
const ADDS: &[u8] = b"runtime.allgadd";
/// The function that goroutines wait in, nearly all of them (`runtime/proc.go`).
const PARKS: &[u8] = b"runtime.gopark";

/// What goroutines wait for, in words (`runtime/runtime2.go`).
const WAIT_REASONS: &[u8] = b"runtime.waitReasonStrings";
/// The function by which each line of the server's log passes (`hashicorp/go-hclog`, `writer.go`).
const LOG_WRITER: &[u8] = b"github.com/hashicorp/go-hclog.(*writer).Flush";

/// Most bytes of the function that adds to the list.
const MAX_FUNCTION: u64 = 1 << 14;

/// What is kept.
#[derive(Debug)]
pub(super) struct Symbols {
    pub(super) list: u64,
    pub(super) functions: Functions,
    /// What the devices' types are called in the debugging information.
    pub(super) device_types: BTreeMap<String, DeviceCode>,
    /// The array of strings that says what goroutines wait for; only `.symtab` has it.
    pub(super) wait_reasons: Option<u64>,
    /// Where nearly all goroutines are that wait.
    pub(super) parks: Option<Range<u64>>,
    /// Where lines of the log are written: its address in the file's own terms.
    pub(super) log_writer: Option<u64>,
    pub(super) marks: BTreeSet<AuditMark>,
    pub(super) version: VersionVariables,
    /// Methods whose arguments are read.
    pub(super) arguments: Vec<(Variable, Range<u64>)>,
}

/// Fails if the list cannot be found, or the program has no audit device. `load_bias`: by how much its addresses
/// differ from those in the file.
pub(super) fn read(executable: &Executable<'_>, load_bias: u64) -> Result<Symbols> {
    let names = executable.window(".strtab")?;
    match (executable.stream(".symtab")?, names) {
        (Some((len, table)), Some(names)) => from_symbols(table, len, names)?.relocate(load_bias),
        _ => from_runtime(executable)?.relocate(load_bias),
    }
}

/// From a table of so many bytes.
fn from_symbols(mut table: impl Read, len: u64, mut names: Window<'_>) -> Result<Collected> {
    let (mut collected, mut symbol) = (Collected::default(), [0; Symbol::SIZE]);
    for _ in 0..len / Symbol::SIZE as u64 {
        let read = table.read_exact(&mut symbol);
        read.context("its .symtab cannot be read")?;
        let symbol = Symbol::parse(&symbol);
        let name = names.string(symbol.name.into());
        let name = name.context("its .strtab cannot be read")?;
        collected.take(name, symbol.range());
    }
    ensure!(collected.list.is_some(), "the server has no runtime.allgs");
    Ok(collected)
}

fn from_runtime(executable: &Executable<'_>) -> Result<Collected> {
    let mut table =
        pclntab::Table::read(executable).context("the server was stripped of its symbols")?;
    let mut collected = Collected::default();
    table.each_function(|name, at| collected.take(name, at));
    let adds = collected.adds.clone();
    collected.list = adds.and_then(|adds| list(executable, adds));
    ensure!(
        collected.list.is_some(),
        "the server was stripped of its symbols, and where its list of goroutines is does not show in its code"
    );
    Ok(collected)
}

/// From the code of the function that adds to it.
fn list(executable: &Executable<'_>, adds: Range<u64>) -> Option<u64> {
    let len = adds.end.checked_sub(adds.start);
    let len = len.filter(|len| *len <= MAX_FUNCTION)?;
    let code = executable.code(adds.start, len)?;
    machine_code::slice(executable.machine(), &code, adds.start)
}

/// The functions and variables of interest, at the addresses in the file.
#[derive(Default)]
struct Collected {
    list: Option<u64>,
    adds: Option<Range<u64>>,
    wait_reasons: Option<u64>,
    parks: Option<Range<u64>>,
    log_writer: Option<u64>,
    functions: Vec<(Range<u64>, KnownFunction)>,
    device_types: BTreeMap<String, DeviceCode>,
    marks: BTreeSet<AuditMark>,
    version: VersionVariables,
    arguments: Vec<(Variable, Range<u64>)>,
}

impl Collected {
    fn take(&mut self, name: &[u8], at: Range<u64>) {
        match name {
            LIST => self.list = Some(at.start),
            ADDS => self.adds = Some(at),
            WAIT_REASONS => self.wait_reasons = Some(at.start),
            PARKS => self.parks = Some(at),
            LOG_WRITER => self.log_writer = Some(at.start),
            _ => self.extend(name, at),
        }
    }

    fn extend(&mut self, name: &[u8], at: Range<u64>) {
        self.version.take(name, at.start);
        let Some(function) = FunctionName::parse(name) else {
            return;
        };
        self.marks.extend(function.mark());
        let variable = function.variable();
        let argument = variable.filter(|_| function.has_pointer_receiver());
        self.arguments
            .extend(argument.map(|variable| (variable, at.clone())));
        self.functions
            .extend(KnownFunction::of(function).map(|known| (at, known)));
        let code = function.device_code();
        self.device_types
            .extend(code.map(|code| (function.type_name(), code)));
    }

    fn relocate(self, by: u64) -> Result<Symbols> {
        let is_device =
            |(_, known): &(_, KnownFunction)| matches!(known.role, Some(FunctionRole::Device(..)));
        ensure!(
            self.functions.iter().any(is_device),
            "the server has no audit device that this version of vault-tracer knows"
        );
        let moved = |at: Range<u64>| at.start.wrapping_add(by)..at.end.wrapping_add(by);
        let functions = self.functions.into_iter();
        let functions = functions.map(|(at, known)| (moved(at), known)).collect();
        Ok(Symbols {
            list: self.list.unwrap_or(0).wrapping_add(by),
            functions: Functions::new(functions),
            device_types: self.device_types,
            wait_reasons: self.wait_reasons.map(|at| at.wrapping_add(by)),
            parks: self.parks.map(moved),
            log_writer: self.log_writer,
            marks: self.marks,
            version: self.version.relocate(by),
            arguments: self
                .arguments
                .into_iter()
                .map(|(of, at)| (of, moved(at)))
                .collect(),
        })
    }
}

/// `Elf64_Sym` (`include/uapi/linux/elf.h`), as far as it is needed.
struct Symbol {
    name: u32,
    at: u64,
    size: u64,
}

impl Symbol {
    const SIZE: usize = 24;

    fn parse(bytes: &[u8; Self::SIZE]) -> Self {
        Self {
            name: word(bytes) as u32,
            at: word(&bytes[8..]),
            size: word(&bytes[16..]),
        }
    }

    fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.size)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::{
        super::{device_kind::DeviceKind, roles::DeviceStyle},
        *,
    };

    pub(in super::super) const BACKEND: &str =
        "example.com/builtin/audit/socket.(*Backend).LogRequest";

    /// `.symtab` and `.strtab` of symbols: name, address, size.
    pub(in super::super) fn table(symbols: &[(&str, u64, u64)]) -> (Vec<u8>, Vec<u8>) {
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
    fn keeps_what_shows_something() {
        let (table, names) = table(&[
            ("runtime.allgs", 0x50, 24),
            ("main.main", 0x60, 16),
            ("sync.(*RWMutex).Lock", 0x70, 16),
            (BACKEND, 0x80, 16),
            ("runtime.gopark", 0x90, 16),
        ]);
        let collected =
            from_symbols(&table[..], table.len() as u64, Window::of(names)).expect("readable");
        let symbols = collected.relocate(0x1000).expect("a device");
        assert_eq!(symbols.parks, Some(0x1090..0x10a0));
        assert_eq!(symbols.list, 0x1050);
        assert_eq!(symbols.functions.at(0x1068), None);
        let lock = symbols.functions.at(0x1078).expect("known");
        assert_eq!(
            (lock.role, &*lock.name),
            (Some(FunctionRole::Lock), "sync.(*RWMutex).Lock")
        );
        let backend = "example.com/builtin/audit/socket.Backend";
        let code = DeviceCode {
            kind: DeviceKind::Socket,
            style: DeviceStyle::Backend,
        };
        let types: Vec<_> = symbols.device_types.into_iter().collect();
        assert_eq!(types, [(backend.to_owned(), code)]);
    }

    #[test]
    fn the_error_names_what_is_missing() {
        let error = |symbols: &[(&str, u64, u64)]| {
            let (table, names) = table(symbols);
            let symbols = from_symbols(&table[..], table.len() as u64, Window::of(names))
                .and_then(|collected| collected.relocate(0));
            symbols.expect_err("missing").to_string()
        };
        assert!(error(&[(BACKEND, 0x80, 16)]).contains("runtime.allgs"));
        assert!(error(&[("runtime.allgs", 0x50, 24)]).contains("no audit device"));
    }

    #[test]
    fn without_any_table_of_functions_is_an_error() {
        let bytes = &include_bytes!("../testdata/go1.27.3-amd64-stripped.elf")[..];
        let executable = Executable::of(&bytes).expect("an ELF file");
        let error = read(&executable, 0).expect_err("stripped").to_string();
        assert!(error.contains("symbols"), "{error}");
    }

    #[test]
    fn the_runtimes_table_has_the_same() {
        let names = [
            BACKEND,
            "sync.(*Mutex).Lock",
            "runtime.gopark",
            "runtime.allgadd",
        ];
        let bytes = pclntab::tests::table(&names, 0x1000);
        let mut table = pclntab::tests::of(&bytes, 0).expect("a table");
        let mut collected = Collected::default();
        table.each_function(|name, at| collected.take(name, at));
        assert_eq!(collected.adds, Some(0x1030..0x1040));
        assert_eq!(collected.parks, Some(0x1020..0x1030));
        let symbols = collected.relocate(0x10).expect("a device");
        let lock = symbols.functions.at(0x1028).expect("known");
        assert_eq!(lock.role, Some(FunctionRole::Lock));
        assert_eq!(symbols.device_types.len(), 1);
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
            let _ = from_symbols(&table[..], table.len() as u64, Window::of(names))
                .and_then(|collected| collected.relocate(u64::from(byte) << 56));
        }
    }
}
