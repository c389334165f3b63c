//! Another process's memory.

use std::{fs::File, io, os::unix::fs::FileExt};

use anyhow::{Context, Result};
use procfs::process::Process;

/// Goroutines no further apart than this are read together: Go keeps things of one size together
/// (`runtime/mheap.go`, `mspan`).
const GAP: u64 = 2048;
/// So many at once.
const AT_ONCE: usize = 64;
/// `include/uapi/linux/auxvec.h`.
const AT_ENTRY: u64 = 9;

/// Memory that may be unreadable and that changes all the time.
pub trait Memory {
    /// Fills the buffer from this address on, or fails.
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()>;

    /// A pointer or the like.
    fn word(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// That of a running process. It stays this process's when another one gets its ID.
#[derive(Debug)]
pub struct ProcessMemory(File);

impl ProcessMemory {
    /// Permission is asked for now, once: that of a debugger (`ptrace(2)`, `PTRACE_MODE_ATTACH`).
    pub fn open(pid: i32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/mem")).map(Self)
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, address)
    }
}

/// Where the process's executable begins to run, wherever it was loaded to.
pub(super) fn entry(pid: i32) -> Result<u64> {
    let context = || format!("cannot tell where the executable of PID {pid} was loaded");
    let values = Process::new(pid).and_then(|process| process.auxv());
    let values = values.with_context(context)?;
    values.get(&AT_ENTRY).copied().with_context(context)
}

/// The first eight bytes.
pub(super) fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Reads so many bytes at each address, neighbours together; leaves out what cannot be read.
pub(super) fn each(
    memory: &impl Memory,
    mut addresses: Vec<u64>,
    size: usize,
    mut take: impl FnMut(u64, &[u8]),
) {
    addresses.sort_unstable();
    addresses.dedup();
    let mut block = Vec::new();
    for near in addresses.chunk_by(|a, b| b - a <= GAP) {
        for some in near.chunks(AT_ONCE) {
            together(memory, some, size, &mut block, &mut take);
        }
    }
}

fn together(
    memory: &impl Memory,
    addresses: &[u64],
    size: usize,
    block: &mut Vec<u8>,
    take: &mut impl FnMut(u64, &[u8]),
) {
    let [first, .., last] = addresses else {
        return addresses
            .iter()
            .for_each(|at| alone(memory, *at, size, take));
    };
    block.resize((last - first) as usize + size, 0);
    if memory.read(*first, block).is_err() {
        return addresses
            .iter()
            .for_each(|at| alone(memory, *at, size, take));
    }
    for at in addresses {
        take(*at, &block[(at - first) as usize..][..size]);
    }
}

fn alone(memory: &impl Memory, at: u64, size: usize, take: &mut impl FnMut(u64, &[u8])) {
    let mut bytes = vec![0; size];
    if memory.read(at, &mut bytes).is_ok() {
        take(at, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_another_process() {
        let secret = 0x1122_3344_5566_7788_u64;
        let memory = ProcessMemory::open(std::process::id() as i32).expect("our own");
        let address = &raw const secret as u64;
        assert_eq!(memory.word(address).expect("readable"), secret);
        assert!(memory.word(8).is_err());
        assert!(memory.word(u64::MAX - 2).is_err());
    }

    #[test]
    fn knows_where_a_program_was_loaded() {
        let file = File::open("/proc/self/exe").expect("opened");
        let cache = object::ReadCache::new(&file);
        let file = object::File::parse(&cache).expect("an ELF file");
        let moved =
            entry(std::process::id() as i32).expect("an entry") - object::Object::entry(&file);
        // Rust programs are position-independent.
        assert!(moved != 0 && moved.is_multiple_of(4096), "{moved:#x}");
    }

    /// Readable up to here.
    struct Until(u64);

    impl Memory for Until {
        fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
            if address.saturating_add(into.len() as u64) > self.0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            into.fill((address >> 8) as u8);
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let mut read = Vec::new();
        let addresses = vec![u64::MAX, 0x300, 0x100, 0x100, 0x9000, 0x200];
        each(&Until(0x308), addresses, 8, |at, bytes| {
            read.push((at, bytes.len()));
        });
        assert_eq!(read, [(0x100, 8), (0x200, 8), (0x300, 8)]);
        read.clear();
        each(&Until(0x208), vec![0x300, 0x100, 0x200], 8, |at, bytes| {
            read.push((at, bytes.len()));
        });
        assert_eq!(read, [(0x100, 8), (0x200, 8)]);
    }
}
