//! Which sockets are the traced server's, and since when.

use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::{kernel::Sock, maps::SOCKETS};

/// When the programs first saw this socket, if it is one of the server's.
#[inline(always)]
pub(crate) fn born(sk: Sock) -> Option<u64> {
    // SAFETY: the value is a plain integer, copied at once.
    SOCKETS.get_ptr(sk.0).map(|born| unsafe { *born })
}

/// The same; a socket not seen before becomes one of the server's.
#[inline(always)]
pub(crate) fn born_or_new(sk: Sock) -> u64 {
    match born(sk) {
        Some(born) => born,
        None => register(sk),
    }
}

/// A new socket, whatever was at this address before.
#[inline(always)]
pub(crate) fn register(sk: Sock) -> u64 {
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // An LRU table makes room by itself; if it fails all the same, the socket is new again at its
    // next call, which the agent can tell by `born`.
    let _ = SOCKETS.insert(sk.0, now, 0);
    now
}

#[inline(always)]
pub(crate) fn forget(sk: Sock) {
    let _ = SOCKETS.remove(sk.0);
}
