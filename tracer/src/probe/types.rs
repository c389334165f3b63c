//! A kernel's types (BTF), by name.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    os::fd::AsRawFd,
    path::Path,
};

use anyhow::{Result, bail, ensure};
use btf_rs::{Backend, Btf, BtfType, Type};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Where a kernel built with `CONFIG_DEBUG_INFO_BTF` describes itself.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The types, of which there are a hundred thousand and more: gone through once.
pub struct Types {
    btf: Btf,
    /// A hash of each name, and which type has it, in order.
    named: Vec<(u64, u32)>,
    hashes: RandomState,
}

impl Types {
    /// Of this file.
    pub fn read(path: &Path) -> Result<Self> {
        // Only the kernel's own is memory-mapped: another file may be damaged.
        let is_own = path == Path::new(VMLINUX);
        let own = is_own.then(|| in_place(File::open(path).ok()?).ok());
        own.flatten()
            .map_or_else(|| Self::parse(&fs::read(path)?), |btf| Ok(Self::of(btf)))
    }

    /// Of these bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        check_lengths(bytes)?;
        Ok(Self::of(Btf::from_bytes(bytes)?))
    }

    fn of(btf: Btf) -> Self {
        let hashes = RandomState::new();
        let (first, last) = btf.base().type_id_range();
        let named = (first..=last).filter_map(|id| {
            let ty = btf.resolve_type_by_id(id).ok()?;
            let name = btf.resolve_name(ty.as_btf_type()?).ok()?;
            (!name.is_empty()).then(|| (hashes.hash_one(&*name), id))
        });
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        Self { btf, named, hashes }
    }

    /// All types of this name: a structure and a function may share one.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Type> {
        let hash = self.hashes.hash_one(name);
        let from = self.named.partition_point(|(other, _)| *other < hash);
        let same = self.named[from..]
            .iter()
            .take_while(move |(other, _)| *other == hash);
        let types = same.filter_map(|(_, id)| self.btf.resolve_type_by_id(*id).ok());
        types.filter(move |ty| ty.as_btf_type().is_some_and(|ty| self.name(ty) == name))
    }

    /// The name of a type; empty if it has none.
    pub fn name(&self, of: &dyn BtfType) -> String {
        self.btf.resolve_name(of).unwrap_or_default()
    }

    /// The type that this one refers to.
    pub fn chained(&self, from: &(impl BtfType + ?Sized)) -> Option<Type> {
        self.btf.resolve_chained_type(from).ok()
    }
}

/// A damaged file may claim any size of its parts, for which the parser would make room at once. Their offsets and lengths are
/// in the header (`struct btf_header`, `include/uapi/linux/btf.h`).
fn check_lengths(bytes: &[u8]) -> Result<()> {
    const MAGIC: u16 = 0xeb9f;
    ensure!(
        bytes.starts_with(&MAGIC.to_ne_bytes()),
        "it is no BTF file of this machine"
    );
    let (words, _) = bytes.as_chunks();
    let words = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)));
    let words: Vec<_> = words.take(6).collect();
    let [_, header, types_at, types, strings_at, strings] = words[..] else {
        bail!("it ends in its header");
    };
    let end = header + (types_at + types).max(strings_at + strings);
    ensure!(
        end <= bytes.len() as u64,
        "it is shorter than its header says"
    );
    Ok(())
}

/// Fallback a copy of each type and name, which takes a tenth of a second and 60 MB. The kernel's own file
/// cannot be mapped before Linux 6.16, a file in memory can.
fn in_place(mut bytes: impl Read) -> Result<Btf> {
    let file = memfd_create("btf", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(file);
    io::copy(&mut bytes, &mut file)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(Btf::from_file_with_backend(path, Backend::Mmap)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the kernel that runs this test, if it describes itself.
    #[test]
    fn reads_the_same_in_place_and_from_a_copy() {
        let Ok(bytes) = fs::read(VMLINUX) else {
            return;
        };
        let copy = Types::of(Btf::from_bytes(&bytes).expect("BTF"));
        let place = Types::of(in_place(&bytes[..]).expect("BTF in memory"));
        assert_eq!(place.named.len(), copy.named.len());
        for name in ["sock", "tcp_sendmsg", "skb_drop_reason", "no such type", ""] {
            let [a, b] = [&place, &copy].map(|types| types.named(name).collect::<Vec<_>>());
            assert_eq!(a, b, "{name}");
        }
        assert!(place.named("sock").any(|ty| matches!(ty, Type::Struct(_))));
    }

    #[test]
    fn what_is_no_btf_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(Types::read(file.path()).is_err(), "empty");
        fs::write(file.path(), "root:x:0:0").expect("written");
        assert!(Types::read(file.path()).is_err());
        // Its types are to have 2 GB.
        let header = [0x0001_eb9f_u32, 24, 0, 2 << 30, 0, 0].map(u32::to_ne_bytes);
        fs::write(file.path(), header.concat()).expect("written");
        let (read, peak) = crate::fuzz::peak(|| Types::read(file.path()).is_ok());
        assert!(!read && peak < 1 << 16, "{read}, {peak} bytes");
        assert!(Types::read(Path::new("/no/such/file")).is_err());
    }
}
