//! Which sockets are the traced server's, and since when.

use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::{
    kernel::Sock,
    maps::{Known, LISTENING, SOCKETS},
};

/// Whether the server listens on this port: connections on it are its clients'.
#[inline(always)]
pub(crate) fn listening(port: u16) -> bool {
    LISTENING.get_ptr(port).is_some()
}

/// What is known of this socket, if it is one of the server's.
#[inline(always)]
pub(crate) fn known(sk: Sock) -> Option<Known> {
    // SAFETY: the value is plain data, copied at once.
    SOCKETS.get_ptr(sk.0).map(|known| unsafe { *known })
}

/// The same; a socket not seen before becomes one of the server's.
#[inline(always)]
pub(crate) fn known_or_new(sk: Sock) -> Known {
    match known(sk) {
        Some(known) => known,
        None => register(sk),
    }
}

/// A new socket, whatever was at this address before.
#[inline(always)]
pub(crate) fn register(sk: Sock) -> Known {
    let known = Known {
        // SAFETY: no arguments.
        born: unsafe { bpf_ktime_get_ns() },
        accepted: u64::from(listening(sk.local_port())),
    };
    // An LRU table makes room by itself; if it fails all the same, the socket is new again at its
    // next call, which the agent can tell by `born`.
    let _ = SOCKETS.insert(sk.0, known, 0);
    known
}

#[inline(always)]
pub(crate) fn forget(sk: Sock) {
    let _ = SOCKETS.remove(sk.0);
}
