//! The layouts of structures that every Go program carries for reflection and interfaces, stripped or not
//! (`internal/abi/type.go`: `Type`, `StructType`, `StructField`, `UncommonType`, `Name`; the same since Go 1.19).

use std::{collections::HashMap, str};

use super::memory::{Memory, word};
use crate::server::{executable::Executable, go::dwarf::Structures};

/// Where the linker puts them, before all else that it puts there (`cmd/link/internal/ld/data.go`): since Go 1.27 in sections of
/// their own. Position-independent programs have them where they can be relocated.
const SECTIONS: [&str; 4] = [
    ".go.type",
    ".data.rel.ro.go.type",
    ".data.rel.ro",
    ".rodata",
];

/// Bytes of a section beyond which it is not read. Five times a server's largest.
const MAX_SECTION: u64 = 256 << 20;

/// `abi.Struct`, without the bits beside the kind.
const KIND_STRUCT: u8 = 25;
const KIND_MASK: u8 = 31;

/// `abi.TFlagUncommon | abi.TFlagExtraStar | abi.TFlagNamed`; there are others.
const FLAGS: u8 = 7;

/// Offsets in `abi.StructType`, bytes.
mod at {
    pub(super) const FLAGS: usize = 20;
    pub(super) const KIND: usize = 23;
    /// Offset of the name from where all types begin.
    pub(super) const NAME: usize = 40;
    pub(super) const FIELDS: usize = 56;
    /// `abi.UncommonType` follows, with the same of the package's path.
    pub(super) const PACKAGE: usize = 80;
}

/// Bytes of `abi.StructType` with the beginning of `abi.UncommonType`.
const STRUCT: usize = 84;
/// Bytes of `abi.StructField`: pointers to its name and type, and its offset.
const FIELD: usize = 24;
/// Members beyond which a structure is rejected. Four times the largest.
const MAX_FIELDS: u64 = 1024;

/// The members of these structures (`path/of/package.Type`, or `*/package.Type` for whatever comes before), as far as the
/// program describes them. `load_bias`: by how much its addresses differ from those in the file.
pub(super) fn structures(
    executable: &Executable<'_>,
    memory: &impl Memory,
    load_bias: u64,
    names: &[&str],
) -> Structures {
    let mut found = Structures::new();
    for section in SECTIONS {
        let Some(section) = executable.range(section) else {
            continue;
        };
        let start = section.start.wrapping_add(load_bias);
        let mut bytes = vec![0; (section.end - section.start).min(MAX_SECTION) as usize];
        if memory.read(start, &mut bytes).is_ok() {
            let types = RuntimeTypes {
                bytes: &bytes,
                start,
            };
            types.find(names, &mut found);
        }
        if found.len() == names.len() {
            break;
        }
    }
    found
}

/// A section that begins with types.
struct RuntimeTypes<'a> {
    bytes: &'a [u8],
    /// Its address.
    start: u64,
}

impl<'a> RuntimeTypes<'a> {
    fn find(&self, names: &[&str], found: &mut Structures) {
        let wanted: HashMap<_, Vec<_>> = names.iter().fold(HashMap::new(), |mut by_type, name| {
            let (package, of) = name.rsplit_once('.').unwrap_or(("", name));
            by_type
                .entry(of)
                .or_insert_with(Vec::new)
                .push((package, *name));
            by_type
        });
        // Functions may have types of their own, of the same name.
        let mut members: HashMap<_, Option<HashMap<_, _>>> = HashMap::new();
        for (index, structure) in self.bytes.windows(STRUCT).step_by(8).enumerate() {
            if structure[at::KIND] & KIND_MASK != KIND_STRUCT
                || structure[at::FLAGS] & FLAGS != FLAGS
            {
                continue;
            }
            let name = self.name(offset(&structure[at::NAME..]));
            let of = name.and_then(|name| Some(name.strip_prefix('*')?.rsplit_once('.')?.1));
            let Some(wanted) = of.and_then(|of| wanted.get(of)) else {
                continue;
            };
            let package = self.name(offset(&structure[at::PACKAGE..]));
            let is_wanted = |of: &str, package: &str| match of.strip_prefix('*') {
                Some(end) => package.ends_with(end),
                None => package == of,
            };
            let name = wanted
                .iter()
                .find(|(of, _)| package.is_some_and(|p| is_wanted(of, p)));
            let Some((_, name)) = name else { continue };
            let own = self.members(8 * index);
            let known = members.entry(*name).or_insert_with(|| own.clone());
            if *known != own {
                *known = None;
            }
        }
        let members = members.into_iter();
        found.extend(members.filter_map(|(name, members)| Some((name.to_owned(), members?))));
    }

    /// Of the structure at this offset.
    fn members(&self, structure: usize) -> Option<HashMap<String, u32>> {
        let fields = self.bytes.get(structure + at::FIELDS..structure + STRUCT)?;
        let (from, count) = (self.offset_of(word(fields))?, word(&fields[8..]));
        let len = FIELD
            * usize::try_from(count)
                .ok()
                .filter(|_| count <= MAX_FIELDS)?;
        let fields = self.bytes.get(from..from.checked_add(len)?)?;
        let member = |field: &[u8]| {
            let name = self.name(self.offset_of(word(field)))?;
            let at = u32::try_from(word(&field[16..])).ok()?;
            Some((name.to_owned(), at))
        };
        fields.chunks_exact(FIELD).map(member).collect()
    }

    fn offset_of(&self, address: u64) -> Option<usize> {
        usize::try_from(address.checked_sub(self.start)?).ok()
    }

    /// `abi.Name`: flags, the length, 7 bits a byte, and the text.
    fn name(&self, from: Option<usize>) -> Option<&'a str> {
        let name = self.bytes.get(from?.checked_add(1)?..)?;
        let (len, text) = match *name {
            [short @ 0..0x80, ..] => (usize::from(short), &name[1..]),
            [low, high @ 0..0x80, ..] => {
                (usize::from(low & 0x7f) | usize::from(high) << 7, &name[2..])
            }
            _ => return None,
        };
        str::from_utf8(text.get(..len)?).ok()
    }
}

/// `abi.NameOff`, where there is one.
fn offset(bytes: &[u8]) -> Option<usize> {
    let offset = i32::from_le_bytes(*bytes.first_chunk()?);
    usize::try_from(offset).ok().filter(|offset| *offset != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 0x40_0000;
    const PACKAGE: &str = "example.com/observability/event";

    /// A section as the linker writes it.
    #[derive(Default)]
    struct Section(Vec<u8>);

    impl Section {
        fn new() -> Self {
            // No name is at the beginning.
            Self(vec![0; 8])
        }

        fn add(&mut self, bytes: &[u8]) -> usize {
            let from = self.0.len();
            self.0.extend(bytes);
            self.0.resize(self.0.len().next_multiple_of(8), 0);
            from
        }

        fn name(&mut self, text: &str) -> usize {
            let len = text.len();
            let len = if len < 0x80 {
                vec![len as u8]
            } else {
                vec![len as u8 | 0x80, (len >> 7) as u8]
            };
            self.add(&[&[1], &len[..], text.as_bytes()].concat())
        }

        fn structure(&mut self, package: &str, name: &str, members: &[(&str, u64)]) -> usize {
            let fields = members.iter().map(|(name, at)| {
                let name = START + self.name(name) as u64;
                [name, 0, *at].map(u64::to_le_bytes).concat()
            });
            let fields: Vec<_> = fields.collect();
            let fields = self.add(&fields.concat());
            let (name, package) = (self.name(name), self.name(package));
            let mut structure = [0; STRUCT];
            (structure[at::FLAGS], structure[at::KIND]) = (FLAGS, KIND_STRUCT);
            structure[at::NAME..][..4].copy_from_slice(&(name as u32).to_le_bytes());
            structure[at::FIELDS..][..8].copy_from_slice(&(START + fields as u64).to_le_bytes());
            structure[at::FIELDS + 8..][..8].copy_from_slice(&(members.len() as u64).to_le_bytes());
            structure[at::PACKAGE..].copy_from_slice(&(package as u32).to_le_bytes());
            self.add(&structure)
        }

        fn find(&self, name: &str) -> Option<Vec<(String, u32)>> {
            let types = RuntimeTypes {
                bytes: &self.0,
                start: START,
            };
            let mut found = Structures::new();
            types.find(&[name, "example.com/other.Type"], &mut found);
            let members = found.remove(name)?;
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort();
            Some(members)
        }
    }

    fn sink() -> String {
        format!("{PACKAGE}.SocketSink")
    }

    fn expected() -> Vec<(String, u32)> {
        vec![("address".to_owned(), 16), ("socketType".to_owned(), 32)]
    }

    const MEMBERS: [(&str, u64); 2] = [("address", 16), ("socketType", 32)];

    #[test]
    fn finds_the_members_of_a_structure_by_its_package_and_name() {
        let long = "x".repeat(200);
        let mut section = Section::new();
        section.structure(
            "example.com/metrics/event",
            "*event.SocketSink",
            &[("address", 8)],
        );
        section.structure(PACKAGE, "*event.SocketSinks", &[(&long, 8)]);
        assert_eq!(
            section.find(&sink()),
            None,
            "another package's, another one"
        );
        let at = section.structure(PACKAGE, "*event.SocketSink", &MEMBERS);
        assert_eq!(section.find(&sink()), Some(expected()));
        // A package is named otherwise than the last part of its path.
        let mut syslog = Section::new();
        syslog.structure("example.com/go-syslog", "*gsyslog.netConn", &[(&long, 8)]);
        assert_eq!(
            syslog.find("example.com/go-syslog.netConn"),
            Some(vec![(long, 8)])
        );
        assert_eq!(section.find("*/event.SocketSink"), None, "several");
        let mut one = Section::new();
        one.structure(PACKAGE, "*event.SocketSink", &MEMBERS);
        assert_eq!(one.find("*/event.SocketSink"), Some(expected()));
        // The twin: no structure, or none with a name.
        for (offset, byte) in [(at::KIND, 22), (at::FLAGS, 4)] {
            let mut other = Section(section.0.clone());
            other.0[at + offset] = byte;
            assert_eq!(other.find(&sink()), None);
        }
    }

    proptest! {
        #[test]
        fn damage_is_survived(at in 0..400usize, byte in any::<u8>(), cut in 0..400usize) {
            let mut section = Section::new();
            section.structure(PACKAGE, "*event.SocketSink", &MEMBERS);
            if let Some(hit) = section.0.get_mut(at) {
                *hit = byte;
            }
            let _ = section.find(&sink());
            section.0.truncate(cut);
            let _ = section.find(&sink());
        }
    }
}
