//! Descriptors in tokio's event loop.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use tokio::io::unix::AsyncFd;

/// Waits on a descriptor for its owner. `owner` must name the same open descriptor as long as it
/// lives, as those used here do: a ring buffer, aya's logger, a pidfd.
pub(crate) fn readable<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `AsFd` says the descriptor is open while it is borrowed from its owner, which the
    // `AsyncFd` holds; that it stays the same one is demanded above.
    Ok(unsafe { AsyncFd::register(owner) }?)
}
