//! The executables and the memory of processes that may be servers.

use super::{
    super::{elf, input::Input},
    Limits, MB, Target,
};
use crate::server::{
    executable::Executable,
    go::buildinfo,
    goroutines::tests::fuzz::{
        read_executable, read_functions, read_memory, symbols, table_of_functions,
    },
};

/// Excerpts of real programs: `server/testdata/README.md`.
const SAMPLES: [&[u8]; 9] = [
    include_bytes!("../../server/testdata/go1.21.13-amd64-variables.elf"),
    include_bytes!("../../server/testdata/go1.24.11-amd64-parameters.elf"),
    include_bytes!("../../server/testdata/go1.27.3-amd64-parameters.elf"),
    include_bytes!("../../server/testdata/go1.27.3-amd64-stripped.elf"),
    include_bytes!("../../server/testdata/go1.27.3-amd64-variables.elf"),
    include_bytes!("../../server/testdata/go1.27.3-amd64.elf"),
    include_bytes!("../../server/testdata/go1.27.3-arm64-parameters.elf"),
    include_bytes!("../../server/testdata/go1.27.3-arm64-variables.elf"),
    include_bytes!("../../server/testdata/go1.27.3-arm64.elf"),
];

pub(super) const EXECUTABLE: Target = Target {
    name: "",
    reads: "an ELF file: headers, compressed sections, all below",
    written_by: "every user who starts a process named like a server",
    run: read_file,
    seeds: || SAMPLES.map(<[u8]>::to_vec).into(),
    words: &[".debug_info", ".go.buildinfo", "ZLIB", "\u{7f}ELF"],
    // zlib makes 1,032 bytes of one; several sections are held at once.
    limits: Limits {
        input: 64 << 10,
        fixed: 8 * MB,
        per_byte: 4 * 1032,
    },
};

fn read_file(input: &[u8]) {
    let Ok(executable) = Executable::of(&input) else {
        return;
    };
    let _ = executable.code(executable.entry(), 64);
    // What is read of each process with a server's name.
    let _ = buildinfo::read(&executable);
    read_executable(&executable);
}

pub(super) const SECTIONS: Target = Target {
    name: "",
    reads: "DWARF, symbols, build information, pclntab: as sections of an ELF file",
    written_by: "who built the server; every user, as above",
    run: |input| read_file(&elf::file(input)),
    seeds: || {
        let (symbols, names) = symbols();
        let functions = [
            "runtime.allgadd",
            "runtime.gopark",
            "a/audit/socket.(*Backend).LogRequest",
        ];
        let with_symbols = [(".symtab", symbols), (".strtab", names)];
        let stripped = [(".gopclntab", table_of_functions(&functions))];
        let described = |sample: &&[u8]| {
            [
                elf::described(sample, &with_symbols),
                elf::described(sample, &stripped),
            ]
        };
        SAMPLES.iter().flat_map(described).collect()
    },
    words: &["runtime.allgs", "runtime.g", "LogRequest", "waitStartTime"],
    // The sections themselves, of at most 1 MB each.
    limits: Limits {
        input: 16 << 10,
        fixed: 40 * MB,
        per_byte: 64,
    },
};

pub(super) const PCLNTAB: Target = Target {
    name: "",
    reads: "Go's table of functions",
    written_by: "who built the server",
    run: |input| {
        let mut input = Input(input);
        let text = input.number(8) as u64;
        read_functions(input.0, text);
    },
    seeds: || {
        let names = ["runtime.allgadd", "runtime.gopark", "main.main"];
        vec![[&[0; 8][..], &table_of_functions(&names)].concat()]
    },
    words: &["runtime.gopark", "sync.(*Mutex).Lock"],
    limits: Limits {
        input: 4096,
        fixed: 64 << 10,
        per_byte: 256,
    },
};

pub(super) const MEMORY: Target = Target {
    name: "",
    reads: "the server's memory: goroutines, stacks, requests, devices",
    written_by: "the server, while it is read",
    run: read_memory,
    seeds: || {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        vec![
            words(&[0, 0x40_0000, 3, 0x104, 0x304, 0x404, 0x704]),
            words(&[1, 17, 0x40_1000, 300, 0x50_0000, 1000, 0, 2000, 3]),
        ]
    },
    words: &[],
    // A sample reads stacks and texts of limited length of as many goroutines as the list has, and the list is limited.
    limits: Limits {
        input: 1024,
        fixed: 96 * MB,
        per_byte: 0,
    },
};
