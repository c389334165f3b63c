//! Buffers of clients' connections: of each the last receive and send.

use tracer_ebpf::{
    abi::{ANSWERED, Connection},
    capture::Mode,
};

use crate::{
    kernel::Sock,
    maps::{CONNECTIONS, ZERO_CONNECTION},
    mode,
};

/// The buffer of a client's connection; a new one is zero.
#[inline(always)]
pub(crate) fn of(sk: Sock) -> Option<*mut Connection> {
    if let Some(known) = CONNECTIONS.get_ptr_mut(sk.0) {
        return Some(known);
    }
    let zero = ZERO_CONNECTION.get(0)?;
    let _ = CONNECTIONS.insert(sk.0, zero, 0);
    CONNECTIONS.get_ptr_mut(sk.0)
}

/// The buffered receive is no longer under way, though the buffers are frozen: else the next request on this connection would pass for
/// a part of that one.
#[inline(always)]
pub(crate) fn answered(sk: Sock) {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(sk.0) {
        // SAFETY: a valid value of the table.
        unsafe { (*connection).received.flags |= ANSWERED };
    }
}

/// The connection has ended.
#[inline(always)]
pub(crate) fn forget(sk: Sock) {
    if mode::current() == Mode::Frozen {
        answered(sk);
    } else {
        let _ = CONNECTIONS.remove(sk.0);
    }
}
