//! Which sockets are the traced server's, and since when.

use aya_ebpf::helpers::bpf_ktime_get_ns;

use tracer_ebpf::abi::Count;

use crate::{
    hold,
    kernel::Sock,
    maps::{CONNECTIONS, Known, LISTENING, SOCKETS},
};

/// Longer than the first retransmissions, ns: a peer that acknowledges nothing for so long is worth telling.
const SILENT: u64 = 500_000_000;

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
        accepted: u32::from(listening(sk.local_port())),
        short: 0,
        acknowledged: 0,
        silent_since: 0,
    };
    // An LRU table makes room by itself; if it fails all the same, the socket is new again at its
    // next call, which the agent can tell by `born`.
    if SOCKETS.insert(sk.0, known, 0).is_ok() {
        hold::count(Count::Sockets, 1);
    }
    known
}

#[inline(always)]
pub(crate) fn forget(sk: Sock) {
    if SOCKETS.remove(sk.0).is_ok() {
        hold::count(Count::Sockets, -1);
    }
    if hold::keeps() {
        let _ = CONNECTIONS.remove(sk.0);
    }
}

/// Whether this audit socket, which has just taken `taken` bytes of a write, or `-errno`, works as it should:
/// it took them all, as it did the time before, and its peer acknowledges what lies there. What follows a write
/// that fell short tells how long that lasted.
#[inline(always)]
pub(crate) fn works(sk: Sock, taken: i64, fell_short: bool) -> bool {
    let Some(known) = SOCKETS.get_ptr_mut(sk.0) else {
        return false;
    };
    // SAFETY: a valid value of the table. That two threads write to one socket at once, which the server's
    // lock prevents, would tear nothing but times.
    unsafe {
        let was_short = (*known).short;
        (*known).short = u32::from(fell_short);
        !fell_short && was_short == 0 && !is_silent(sk, known, taken)
    }
}

/// Whether its peer has acknowledged nothing of what lay there before for a while.
///
/// # Safety
///
/// `known` must be valid.
#[inline(always)]
unsafe fn is_silent(sk: Sock, known: *mut Known, written: i64) -> bool {
    let Some((una, end)) = sk.outstanding() else {
        return false;
    };
    let before = end.wrapping_sub(written as u32);
    // SAFETY: by the caller's word; no arguments for the clock.
    unsafe {
        let now = bpf_ktime_get_ns();
        if before == una || (*known).acknowledged != u64::from(una) {
            (*known).acknowledged = u64::from(una);
            (*known).silent_since = now;
        }
        now - (*known).silent_since > SILENT
    }
}
