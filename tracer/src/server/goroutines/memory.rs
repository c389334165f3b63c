//! Another process's memory.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};
use tracer_proc::Process;

use super::permission;

/// Goroutines no further apart than this are read together: Go allocates objects of one size together
/// (`runtime/mheap.go`, `mspan`).
const GAP: u64 = 2048;
/// Most goroutines in one read.
const AT_ONCE: usize = 64;
/// Most pieces of one system call (`include/uapi/linux/uio.h`, `UIO_MAXIOV`).
const MAX_PIECES: usize = 1024;
/// Most bytes of one system call: they stay in the processor's cache until they are parsed.
const MAX_BYTES: usize = 256 << 10;
/// `include/uapi/linux/auxvec.h`.
const AT_ENTRY: u64 = 9;

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its first byte.
    pub address: u64,
    /// Bytes.
    pub len: usize,
}

/// Memory that may be unreadable and that changes all the time.
pub trait Memory {
    /// Fills the buffer from this address on, or fails.
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()>;

    /// Fills the buffer with these pieces, one after the other, as far as they fit. Returns for each whether it could
    /// be read.
    fn read_pieces(&self, pieces: &[Piece], into: &mut [u8]) -> Vec<bool> {
        one_by_one(self, pieces, into)
    }

    /// A pointer or the like.
    fn word(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn one_by_one(memory: &(impl Memory + ?Sized), pieces: &[Piece], mut into: &mut [u8]) -> Vec<bool> {
    let read = pieces.iter().map(|piece| {
        let (bytes, rest) = std::mem::take(&mut into)
            .split_at_mut_checked(piece.len)
            .unwrap_or_default();
        into = rest;
        bytes.len() == piece.len && memory.read(piece.address, bytes).is_ok()
    });
    read.collect()
}

/// The memory of a running process.
#[derive(Debug)]
pub struct ProcessMemory {
    /// Remains this process's when another one gets its ID.
    file: File,
    pid: Pid,
}

impl ProcessMemory {
    /// Needs a debugger's permission (`ptrace(2)`, `PTRACE_MODE_ATTACH`).
    pub fn open(pid: i32) -> Result<Self> {
        let file = File::open(format!("/proc/{pid}/mem"));
        let file = file.map_err(|error| {
            let why = permission::explain(&error);
            anyhow::Error::new(error).context(why)
        })?;
        let pid = Pid::from_raw(pid);
        Ok(Self { file, pid })
    }

    /// Reads as many pieces as it can from the first on; how many those are.
    fn read_first(&self, pieces: &[Piece], into: &mut [u8]) -> nix::Result<usize> {
        let remote: Vec<_> = pieces
            .iter()
            .map(|piece| RemoteIoVec {
                base: piece.address as usize,
                len: piece.len,
            })
            .collect();
        let mut read = process_vm_readv(self.pid, &mut [IoSliceMut::new(into)], &remote)?;
        let whole = |piece: &&Piece| match read.checked_sub(piece.len) {
            Some(rest) => {
                read = rest;
                true
            }
            None => false,
        };
        Ok(pieces.iter().take_while(whole).count())
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, address)
    }

    /// Another process that has got this ID is not read: this one's memory is gone then.
    /// A container may allow the file but not the system call.
    fn read_pieces(&self, pieces: &[Piece], into: &mut [u8]) -> Vec<bool> {
        let mut read = Vec::with_capacity(pieces.len());
        let mut from = 0;
        while let Some(rest) = pieces.get(read.len()..).filter(|rest| !rest.is_empty()) {
            let some = &rest[..rest.len().min(MAX_PIECES)];
            let len: usize = some.iter().map(|piece| piece.len).sum();
            let Some(bytes) = into.get_mut(from..from + len) else {
                break;
            };
            let whole = match self.read_first(some, bytes) {
                Ok(whole) => whole,
                Err(Errno::EFAULT) => 0,
                Err(_) => return one_by_one(self, pieces, into),
            };
            read.resize(read.len() + whole, true);
            if whole < some.len() {
                read.push(false);
            }
            let passed = &some[..(whole + 1).min(some.len())];
            from += passed.iter().map(|piece| piece.len).sum::<usize>();
        }
        let is_alive = pieces.iter().zip(&read).find(|(_, read)| **read);
        let is_alive =
            is_alive.is_some_and(|(piece, _)| self.read(piece.address, &mut [0]).is_ok());
        read.resize(pieces.len(), false);
        read.iter().map(|read| *read && is_alive).collect()
    }
}

/// The address of the executable's first instruction, after relocation.
pub(super) fn entry(pid: i32) -> Result<u64> {
    let context = || format!("cannot find where the executable of PID {pid} was loaded");
    let entry = Process::new(pid).auxiliary(AT_ENTRY);
    entry.with_context(context)?.with_context(context)
}

/// The first eight bytes.
pub(super) fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Reads `size` bytes at each of these addresses, which are in order, neighbours together; leaves out
/// what cannot be read.
pub(super) fn each(
    memory: &impl Memory,
    addresses: &[u64],
    size: usize,
    mut take: impl FnMut(u64, &[u8]),
) {
    let near = addresses.chunk_by(|a, b| b - a <= GAP);
    let blocks: Vec<_> = near.flat_map(|near| near.chunks(AT_ONCE)).collect();
    let pieces: Vec<_> = blocks.iter().map(|block| around(block, size)).collect();
    in_batches(memory, &pieces, |i, bytes| match bytes {
        Some(bytes) => {
            for at in blocks[i] {
                take(*at, &bytes[(at - pieces[i].address) as usize..][..size]);
            }
        }
        None => {
            for at in blocks[i] {
                alone(memory, *at, size, &mut take);
            }
        }
    });
}

/// `size` bytes at each of these addresses, which are in order, and what is between them.
fn around(addresses: &[u64], size: usize) -> Piece {
    let address = addresses.first().copied().unwrap_or(0);
    let last = addresses.last().copied().unwrap_or(address);
    Piece {
        address,
        len: (last - address) as usize + size,
    }
}

/// Reads pieces, many at once, and passes the index and the bytes of each; `None` if it cannot be read.
pub(super) fn in_batches(
    memory: &impl Memory,
    mut pieces: &[Piece],
    mut take: impl FnMut(usize, Option<&[u8]>),
) {
    let (mut buffer, mut done) = (Vec::new(), 0);
    while !pieces.is_empty() {
        let batch = batch(pieces);
        let len = batch.iter().map(|piece| piece.len).sum();
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let read = memory.read_pieces(batch, &mut buffer[..len]);
        let mut bytes = &buffer[..len];
        for (piece, is_read) in batch.iter().zip(read) {
            let (own, rest) = bytes.split_at(piece.len);
            take(done, is_read.then_some(own));
            (bytes, done) = (rest, done + 1);
        }
        pieces = &pieces[batch.len()..];
    }
}

/// As many from the first on as fit into one system call, and at least that.
fn batch(pieces: &[Piece]) -> &[Piece] {
    let mut bytes = 0;
    let fits = |piece: &&Piece| {
        bytes += piece.len;
        bytes <= MAX_BYTES
    };
    let fitting = pieces.iter().take(MAX_PIECES).take_while(fits).count();
    &pieces[..fitting.max(1)]
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
    fn finds_where_a_program_was_loaded() {
        let file = File::open("/proc/self/exe").expect("opened");
        let cache = object::ReadCache::new(&file);
        let file = object::File::parse(&cache).expect("an ELF file");
        let moved =
            entry(std::process::id() as i32).expect("an entry") - object::Object::entry(&file);
        // Rust programs are position-independent.
        assert!(moved != 0 && moved.is_multiple_of(4096), "{moved:#x}");
    }

    #[test]
    fn reads_many_pieces_of_another_process() {
        let words: Vec<u64> = (0..3000).collect();
        let memory = ProcessMemory::open(std::process::id() as i32).expect("our own");
        let mut pieces: Vec<_> = words
            .iter()
            .map(|word| Piece {
                address: &raw const *word as u64,
                len: 8,
            })
            .collect();
        for unreadable in [0, 1, 1500, 2999] {
            pieces[unreadable].address = 8;
        }
        let mut read = Vec::new();
        in_batches(&memory, &pieces, |i, bytes| {
            read.push((i as u64, bytes.map(word)));
        });
        assert_eq!(read.len(), words.len());
        for (i, found) in read {
            let expected = (![0, 1, 1500, 2999].contains(&i)).then_some(i);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn batches_are_bounded() {
        let pieces = vec![Piece { address: 0, len: 8 }; 3000];
        assert_eq!(batch(&pieces).len(), MAX_PIECES);
        let len = MAX_BYTES / 2;
        assert_eq!(batch(&[Piece { address: 0, len }; 9]).len(), 2);
        let len = MAX_BYTES * 2;
        assert_eq!(batch(&[Piece { address: 0, len }; 9]).len(), 1);
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
        let addresses = [0x100, 0x200, 0x300, 0x9000, u64::MAX];
        each(&Until(0x308), &addresses, 8, |at, bytes| {
            read.push((at, bytes.len()));
        });
        assert_eq!(read, [(0x100, 8), (0x200, 8), (0x300, 8)]);
        read.clear();
        each(&Until(0x208), &[0x100, 0x200, 0x300], 8, |at, bytes| {
            read.push((at, bytes.len()));
        });
        assert_eq!(read, [(0x100, 8), (0x200, 8)]);
    }
}
