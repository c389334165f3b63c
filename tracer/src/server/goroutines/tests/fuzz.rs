//! Tables of functions and memory of any content, for `crate::fuzz`.

use super::{
    super::{function_name::FunctionName, pclntab, symbols},
    damage::{Arena, of_a_server},
    *,
};

/// With these functions of 16 bytes each, as the Go linker writes the table.
pub(crate) fn table_of_functions(names: &[&str]) -> Vec<u8> {
    pclntab::tests::table(names, 0x1000)
}

/// Symbols as `.symtab` and `.strtab` have them, of which the program needs at least these.
pub(crate) fn symbols() -> (Vec<u8>, Vec<u8>) {
    symbols::tests::table(&[
        ("runtime.allgs", 0x50, 24),
        ("runtime.gopark", 0x90, 16),
        (symbols::tests::BACKEND, 0x80, 16),
        ("sync.(*RWMutex).Lock", 0x70, 16),
    ])
}

/// The functions of such a table.
pub(crate) fn read_functions(table: &[u8], text: u64) {
    if let Some(mut table) = pclntab::tests::of(table, text) {
        table.each_function(|name, _| drop(FunctionName::parse(name).map(KnownFunction::of)));
    }
}

/// All that is read of an executable before its process.
pub(crate) fn read_executable(executable: &Executable<'_>) {
    let debug = dwarf::Sections::read(executable, has_variables);
    if let Some(build) = buildinfo::read(executable) {
        let _ = crate::server::go::facts(build, &debug);
    }
    let debug = debug.ok().flatten();
    let _ = GoroutineReader::of(executable, debug.as_ref(), (0x1000, None));
}

/// Words of a memory that has the same few everywhere; the last places are overwritten in one that makes sense.
pub(crate) fn read_memory(input: &[u8]) {
    let (words, _) = input.as_chunks();
    let words: Vec<_> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let Some((first, rest)) = words.split_first() else {
        return;
    };
    if first & 1 == 0 {
        let memory = Arena::of(&words);
        let reader = reader();
        let _ = reader.sample(&memory);
        let _ = reader.sample(&memory);
        let _ = reader.polled_sockets(&memory);
        return;
    }
    let mut memory = of_a_server();
    let mut places: Vec<_> = memory.words.keys().copied().collect();
    places.sort_unstable();
    let (changes, _) = rest.as_chunks();
    for [place, word] in changes {
        let place = places[*place as usize % places.len()];
        memory.words.insert(place, *word);
    }
    let reader = reader();
    let _ = reader.sample(&memory);
    let _ = reader.sample(&memory);
}
