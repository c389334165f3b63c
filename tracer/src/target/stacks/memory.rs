//! The memory of another process (`process_vm_readv(2)`): it runs on while it is read.

use std::io::{self, IoSliceMut};

use nix::{
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};

/// Bytes at addresses.
pub(super) trait Memory {
    /// All of them, or an error.
    fn read(&self, address: u64, len: usize) -> io::Result<Vec<u8>>;
}

/// A process's.
pub(super) struct ProcessMemory(pub(super) i32);

impl Memory for ProcessMemory {
    fn read(&self, address: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let remote = RemoteIoVec {
            base: usize::try_from(address).map_err(io::Error::other)?,
            len,
        };
        let mut local = [IoSliceMut::new(&mut bytes)];
        let read = process_vm_readv(Pid::from_raw(self.0), &mut local, &[remote])?;
        if read == len {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// The eight bytes at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}
