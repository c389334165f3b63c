//! Which sockets are the traced server's, and since when.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_ebpf::abi::{Count, Name};

use crate::{
    hold,
    kernel::Sock,
    maps::{CONNECTIONS, Known, LISTENING, ROLES, SAID, SOCKETS},
};

/// Longer than the first retransmissions, ns: a peer that acknowledges nothing for so long is worth telling.
const SILENT: u64 = 500_000_000;

/// Whether the server listens on this port: connections on it are its clients'.
#[inline(always)]
pub(crate) fn listening(port: u16) -> bool {
    LISTENING.get_ptr(port).is_some()
}

/// A socket that is the server's, with what is kept of it.
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    pub(crate) sk: Sock,
    /// A value of the table: valid until the program ends. If the table, when it is full, gives its place to another
    /// socket meanwhile, what is read of it is of that one.
    known: *mut Known,
}

impl Socket {
    /// If it is one of the server's.
    #[inline(always)]
    pub(crate) fn find(sk: Sock) -> Option<Self> {
        let known = SOCKETS.get_ptr_mut(sk.0)?;
        Some(Self { sk, known })
    }

    /// The same for one that is the server's for sure: if it was not seen before, it is from now on.
    #[inline(always)]
    pub(crate) fn find_or_register(sk: Sock) -> Option<Self> {
        let found = Self::find(sk);
        if found.is_some() {
            return found;
        }
        register(sk);
        Self::find(sk)
    }

    /// One that a client opened, used by the server.
    #[inline(always)]
    pub(crate) fn of_client(sk: Sock) -> Option<Self> {
        let socket = match Self::find(sk) {
            None if listening(sk.local_port()) => Self::find_or_register(sk),
            found => found,
        };
        socket.filter(|socket| socket.is_clients())
    }

    /// `CLOCK_MONOTONIC` ns at which it was first seen.
    #[inline(always)]
    pub(crate) fn born(self) -> u64 {
        // SAFETY: a valid value of the table, as below.
        unsafe { (*self.known).born }
    }

    /// Whether a client opened it.
    #[inline(always)]
    pub(crate) fn is_clients(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.known).accepted != 0 }
    }

    /// What it is to the agent; 0 where that has not said yet.
    #[inline(always)]
    pub(crate) fn role(self) -> u32 {
        // SAFETY: plain data that the agent changes at any time, copied at once.
        ROLES
            .get_ptr(self.born())
            .map_or(0, |role| unsafe { *role })
    }

    /// The same, kept with the socket until the agent says something: for what happens often.
    #[inline(always)]
    pub(crate) fn kept_role(self) -> u32 {
        // SAFETY: as above, and a valid value of the table.
        unsafe {
            let said = SAID.get_ptr(0).map_or(0, |said| said.read_volatile());
            if (*self.known).role_as_of != said {
                (*self.known).role = self.role();
                (*self.known).role_as_of = said;
            }
            (*self.known).role
        }
    }

    /// What it is called now.
    ///
    /// # Safety
    ///
    /// `to` must be valid for writes.
    #[inline(always)]
    pub(crate) unsafe fn name(self, to: *mut Name) {
        // SAFETY: as above, and by the caller's word.
        unsafe {
            let kept = &raw mut (*self.known).name;
            if (*kept).family != 0 {
                *to = *kept;
                return;
            }
            self.sk.name(to);
            if self.sk.is_tcp() && (*to).local_port != 0 && (*to).remote_port != 0 {
                *kept = *to;
            }
        }
    }

    /// Whether this audit socket, which has just taken `taken` bytes of a write, or `-errno`, works as it should:
    /// it took them all, as it did the time before, and its peer acknowledges what lies there. What follows a write
    /// that fell short tells how long that lasted.
    #[inline(always)]
    pub(crate) fn works(self, taken: i64, fell_short: bool) -> bool {
        // SAFETY: as above. That two threads write to one socket at once, which the server's lock prevents,
        // would tear nothing but times.
        unsafe {
            let was_short = (*self.known).short;
            (*self.known).short = u32::from(fell_short);
            !fell_short && was_short == 0 && !self.is_silent(taken)
        }
    }

    /// Whether its peer has acknowledged nothing of what lay there before for a while.
    #[inline(always)]
    fn is_silent(self, written: i64) -> bool {
        let Some((una, end)) = self.sk.outstanding() else {
            return false;
        };
        let before = end.wrapping_sub(written as u32);
        // SAFETY: as above; no arguments for the clock.
        unsafe {
            let now = bpf_ktime_get_ns();
            if before == una || (*self.known).acknowledged != u64::from(una) {
                (*self.known).acknowledged = u64::from(una);
                (*self.known).silent_since = now;
            }
            now - (*self.known).silent_since > SILENT
        }
    }
}

/// A new socket, whatever was at this address before. An LRU table makes room by itself; if it fails all the
/// same, this call is not told, and the socket is new at its next one.
#[inline(always)]
pub(crate) fn register(sk: Sock) {
    let known = Known {
        // SAFETY: no arguments.
        born: unsafe { bpf_ktime_get_ns() },
        acknowledged: 0,
        silent_since: 0,
        accepted: u32::from(listening(sk.local_port())),
        short: 0,
        role: 0,
        role_as_of: 0,
        name: Name::NONE,
    };
    if SOCKETS.insert(sk.0, known, 0).is_ok() {
        hold::count(Count::Sockets, 1);
    }
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
