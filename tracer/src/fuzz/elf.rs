//! ELF files of sections as an input describes them: so that mutations reach the sections' readers instead of the headers.
//! Debugging information is mostly gaps (`server/testdata/README.md`), of which an input has only the length.

use object::Architecture;

use super::input::{Input, sized};
use crate::server::executable::Executable;

/// In the order in which an input has them.
const SECTIONS: [&str; 9] = [
    ".debug_abbrev",
    ".debug_info",
    ".debug_loclists",
    ".debug_loc",
    ".debug_addr",
    ".go.buildinfo",
    ".symtab",
    ".strtab",
    ".gopclntab",
];

/// Longest section, bytes: that of the longest excerpt is shorter.
const LONGEST: usize = 1 << 20;
/// Zeros that are left out.
const GAP: usize = 16;
/// Bytes of a section's header, and of the file's.
const SECTION_HEADER: usize = 64;
const HEADER: usize = 64;
/// `EM_X86_64`, `EM_AARCH64` (`include/uapi/linux/elf-em.h`).
const MACHINES: [u16; 2] = [62, 183];

/// A file of the sections that this input describes: of each its length, 3 bytes, the number of its parts, 1 byte, and of each
/// part the gap before it, 3 bytes, and its bytes.
pub(super) fn file(input: &[u8]) -> Vec<u8> {
    let mut input = Input(input);
    let machine = MACHINES[usize::from(input.byte() & 1)];
    let mut sections = vec![(".text", vec![0x90; 64])];
    for name in SECTIONS {
        let mut bytes = vec![0; input.number(3).min(LONGEST)];
        let mut at = 0;
        for _ in 0..input.byte() {
            at += input.number(3);
            let part = input.sized();
            if let Some(to) = bytes.get_mut(at..at + part.len()) {
                to.copy_from_slice(part);
            }
            at += part.len();
        }
        if !bytes.is_empty() {
            sections.push((name, bytes));
        }
    }
    assembled(machine, &sections)
}

/// The input that describes an ELF file with, instead of its own, these further sections.
pub(super) fn described(file: &[u8], further: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let executable = Executable::of(&file).expect("an ELF file");
    let is_arm = executable.machine() == Architecture::Aarch64;
    let mut input = vec![u8::from(is_arm)];
    for name in SECTIONS {
        let own = || executable.section(name).expect("readable");
        let given = further.iter().find(|(of, _)| *of == name);
        let bytes = given.map(|(_, bytes)| bytes.clone()).or_else(own);
        section(&mut input, &bytes.unwrap_or_default());
    }
    input
}

fn section(input: &mut Vec<u8>, bytes: &[u8]) {
    let three = |number: usize| number.to_le_bytes()[..3].to_vec();
    let parts = parts(bytes);
    input.extend(three(bytes.len()));
    input.push(u8::try_from(parts.len()).expect("few parts"));
    let mut end = 0;
    for part in parts {
        input.extend(three(part.start - end));
        input.extend(sized(&bytes[part.clone()]));
        end = part.end;
    }
}

/// What is between gaps.
fn parts(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut parts: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        match parts.last_mut() {
            Some(last) if at < last.end + GAP => last.end = at + 1,
            _ => parts.push(at..at + 1),
        }
    }
    parts
}

/// `Elf64_Ehdr`, the sections, their names, their `Elf64_Shdr` (`include/uapi/linux/elf.h`).
fn assembled(machine: u16, sections: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut names = vec![0];
    let mut contents = Vec::new();
    let mut headers = vec![0; SECTION_HEADER];
    let mut add = |name: &str, kind: u32, bytes: &[u8], names: &mut Vec<u8>| {
        let (at, name_at) = (HEADER + contents.len(), names.len() as u32);
        names.extend(name.bytes().chain([0]));
        headers.extend([name_at, kind].map(u32::to_le_bytes).concat());
        let address = 0x1000 * (1 + u64::from(name_at));
        let words = [0, address, at as u64, bytes.len() as u64, 0, 1, 0];
        headers.extend(words.map(u64::to_le_bytes).concat());
        contents.extend_from_slice(bytes);
        contents.len()
    };
    // SHT_PROGBITS, SHT_STRTAB.
    for (name, bytes) in sections {
        add(name, 1, bytes, &mut names);
    }
    let all_names = [&names[..], b".shstrtab\0"].concat();
    let end = add(".shstrtab", 3, &all_names, &mut names);
    let count = headers.len() / SECTION_HEADER;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable of this machine, version 1.
    file.extend([2, machine].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    let places = [0x1000, 0, (HEADER + end) as u64];
    file.extend(places.map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    let sizes = [HEADER, 0, 0, SECTION_HEADER, count, count - 1];
    file.extend(sizes.map(|size| (size as u16).to_le_bytes()).concat());
    [file, contents, headers].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_described_and_assembled_again() {
        let sample = include_bytes!("../server/testdata/go1.27.3-arm64-parameters.elf");
        let built = file(&described(sample, &[(".strtab", b"names".to_vec())]));
        let (sample, built) = (&sample[..], &built[..]);
        let [one, other] = [&sample, &built].map(|file| Executable::of(file).expect("ELF"));
        assert_eq!(one.machine(), other.machine());
        let section =
            |of: &Executable<'_>, name| of.section(name).expect("readable").expect("there");
        for name in [
            ".debug_info",
            ".debug_abbrev",
            ".debug_loclists",
            ".debug_addr",
        ] {
            assert_eq!(section(&one, name), section(&other, name), "{name}");
        }
        assert_eq!(section(&other, ".strtab"), b"names");
    }
}
