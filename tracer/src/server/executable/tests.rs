use object::{Object, ObjectSection};
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

const SAMPLE: &[u8] = include_bytes!("../testdata/go1.27.3-amd64-parameters.elf");

#[test]
fn reads_sections_that_are_compressed_and_others() {
    let read = |bytes: &'static [u8], name| {
        let executable = Executable::of(&bytes).expect("an ELF file");
        executable.section(name).expect("readable")
    };
    let plain = include_bytes!("../testdata/go1.27.3-amd64.elf");
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
    for (name, _) in SECTIONS {
        let [a, b] = [&from_file, &from_bytes].map(|all| all.section(name).expect("readable"));
        assert_eq!(a, b, "{name}");
    }
}

/// Every user may start such a program under the name of a server.
#[test]
fn a_file_that_claims_to_be_huge_takes_no_memory() {
    const HUGE: u64 = 16 << 30;
    let plain = include_bytes!("../testdata/go1.27.3-amd64.elf");
    let table = u64::from_le_bytes(*plain[0x28..].first_chunk().expect("e_shoff"));
    let header = |number: usize| table as usize + 64 * number;
    let set = |bytes: &mut [u8], at: usize, number: u64| {
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    };
    let mut many = plain.to_vec();
    // `e_shnum` is in the first section then.
    many[0x3c..0x3e].fill(0);
    set(&mut many, header(0) + 0x20, HUGE / 64);
    let mut long = plain.to_vec();
    // `.go.buildinfo`, and one of symbols that no section names.
    set(&mut long, header(1) + 0x20, HUGE);
    let mut symbols = plain.to_vec();
    symbols[header(1) + 4] = 2;
    set(&mut symbols, header(1) + 0x20, HUGE);
    let mut compressed = plain.to_vec();
    compressed[header(1) + 8..header(1) + 16].copy_from_slice(&0x800_u64.to_le_bytes());
    let at = u64::from_le_bytes(*plain[header(1) + 0x18..].first_chunk().expect("sh_offset"));
    // ELFCOMPRESS_ZLIB.
    set(&mut compressed, at as usize, 1);
    set(&mut compressed, at as usize + 8, HUGE);
    for bytes in [many, long, symbols, compressed] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        file.as_file().set_len(HUGE + 4096).expect("a sparse file");
        let read = || {
            let executable = Executable::open(file.as_file());
            let section = executable.map(|executable| executable.section(".go.buildinfo"));
            section.is_ok_and(|section| section.is_ok())
        };
        let (is_read, peak) = crate::fuzz::peak(read);
        assert!(!is_read && peak < 1 << 20, "{is_read}, {peak} bytes");
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
            for (name, _) in SECTIONS {
                let _ = executable.section(name);
            }
            let _ = executable.code(executable.entry(), 64);
        }
    }
}
