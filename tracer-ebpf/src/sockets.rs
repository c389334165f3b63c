//! Which sockets are the traced server's, and since when.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_ebpf::{
    abi::{Count, Destination, EntryRequest, Name},
    capture::{self, AuditSocket, Peers, Role, Shown, Takes},
    protocol::{HASH_BASIS, REQUEST_START, SendOutcome, hash_word, is_tls},
};

use crate::{
    connections,
    kernel::{NOWHERE, Sock, destination},
    maps::{DESTINATIONS, ENTRY_REQUESTS, Known, LISTENING, ROLES, ROLES_GENERATION, SOCKETS},
    mode, read,
};

/// Who connects to this port, if the server listens on it.
#[inline(always)]
fn peers(port: u16) -> Option<Peers> {
    // SAFETY: plain data that the agent changes at any time, copied at once.
    let peers = LISTENING.get_ptr(port).map(|peers| unsafe { *peers });
    peers.map(Peers::from_wire)
}

/// The role of sockets that lead where this one does, as the agent has set it.
#[inline(always)]
pub(crate) fn role_at(name: &Name) -> Role {
    if name.remote_port == 0 {
        return Role::Unknown;
    }
    let role = DESTINATIONS.get_ptr(Destination::of(name));
    // SAFETY: plain data that the agent changes at any time, copied at once.
    Role::from_wire(role.map_or(0, |role| unsafe { *role }))
}

/// Whether the server listens on this port for its clients.
#[inline(always)]
pub(crate) fn listening(port: u16) -> bool {
    matches!(peers(port), Some(Peers::Clients))
}

/// A socket of the server's and its entry in the table.
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    pub(crate) sk: Sock,
    /// A value of the table: valid until the program ends. If the table is full and gives its place to another socket
    /// meanwhile, it holds that one's data.
    known: *mut Known,
}

impl Socket {
    /// `None` if it is not one of the server's.
    #[inline(always)]
    pub(crate) fn find(sk: Sock) -> Option<Self> {
        let known = SOCKETS.get_ptr_mut(sk.0)?;
        Some(Self { sk, known })
    }

    /// For a socket that is certainly the server's: adds it if it was not seen before.
    #[inline(always)]
    pub(crate) fn find_or_register(sk: Sock) -> Option<Self> {
        if let Some(found) = Self::find(sk) {
            if found.is_same() {
                return Some(found);
            }
            mode::count(Count::Sockets, -1);
        }
        let leads_to = if sk.is_tcp() { 0 } else { sk.leads_to() };
        register_as(sk, leads_to);
        Self::find(sk)
    }

    /// Whether it is the one that was registered, rather than a later one at the same address.
    #[inline(always)]
    fn is_same(self) -> bool {
        // SAFETY: a valid value of the table, as below.
        let led_to = unsafe { (*self.known).leads_to };
        led_to == 0 || [led_to, NOWHERE].contains(&self.sk.leads_to())
    }

    /// For a socket in use by the server: one that it opened is known since it connected or sent, one that a client opened may
    /// be older than the trace.
    #[inline(always)]
    pub(crate) fn find_receiving(sk: Sock) -> Option<Self> {
        match Self::find(sk) {
            None if listening(sk.local_port()) => Self::find_or_register(sk),
            found => found,
        }
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

    /// As the agent has set it, or its own requests show it.
    #[inline(always)]
    pub(crate) fn role(self) -> Role {
        // SAFETY: plain data that the agent changes at any time, copied at once.
        if let Some(role) = ROLES.get_ptr(self.born()).map(|role| unsafe { *role }) {
            return Role::from_wire(role);
        }
        // SAFETY: a valid value of the table, as above.
        if unsafe { (*self.known).audit.is_shown() } {
            return Role::Audit;
        }
        role_at(&self.whole_name())
    }

    /// The role that its own bytes show.
    #[inline(always)]
    fn shows(self, shown: Shown) -> Role {
        // SAFETY: as above.
        unsafe {
            (*self.known).audit.shows(shown);
            (*self.known).role = Role::Audit as u32;
        }
        Role::Audit
    }

    /// Its role with this one as the agent has set it, and the bytes at `buffer` that are sent now. `is_request`: whether they begin
    /// a request of HTTP.
    #[inline(always)]
    pub(crate) fn role_by_bytes(
        self,
        role: Role,
        (first_byte, is_request): (u8, bool),
        buffer: u64,
    ) -> Role {
        match role {
            Role::Audit | Role::Other => role,
            Role::Device if is_tls(u64::from(first_byte)) => self.shows(Shown::Tls),
            _ if is_request && self.sends_entries(buffer) => self.shows(Shown::Entries),
            role => role,
        }
    }

    /// Whether the request at this address begins as those with entries do.
    #[inline(always)]
    fn sends_entries(self, request: u64) -> bool {
        let mut hash = HASH_BASIS;
        for at in (0..REQUEST_START as u64).step_by(size_of::<u64>()) {
            hash = hash_word(hash, read::user(request + at));
        }
        let request = EntryRequest {
            destination: Destination::of(&self.whole_name()),
            hash,
        };
        ENTRY_REQUESTS.get_ptr(request).is_some()
    }

    #[inline(always)]
    fn whole_name(self) -> Name {
        let mut name = Name::NONE;
        // SAFETY: a name.
        unsafe { self.name(&raw mut name) };
        name
    }

    /// Its name once it is connected as the process asks for: to the `struct sockaddr` at this address.
    #[inline(always)]
    pub(crate) fn name_at(self, sockaddr: u64) -> Name {
        let mut name = self.whole_name();
        // SAFETY: a name.
        unsafe { destination(sockaddr, &raw mut name) };
        name
    }

    /// The same, cached with the socket until the agent changes a role.
    #[inline(always)]
    pub(crate) fn cached_role(self) -> Role {
        // SAFETY: as above, and a valid value of the table.
        unsafe {
            let generation = ROLES_GENERATION
                .get_ptr(0)
                .map_or(0, |generation| generation.read_volatile());
            if (*self.known).role_generation != generation {
                (*self.known).role = self.role() as u32;
                (*self.known).role_generation = generation;
            }
            Role::from_wire((*self.known).role)
        }
    }

    /// Whether its events are dropped while buffering.
    #[inline(always)]
    pub(crate) fn is_ignored(self) -> bool {
        capture::is_ignored(self.is_clients(), self.role())
    }

    /// Writes its addresses.
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

    /// See [`AuditSocket::begins_entry`].
    #[inline(always)]
    pub(crate) fn begins_entry(self, is_request: bool) -> bool {
        // SAFETY: as above.
        unsafe { (*self.known).audit.begins_entry(is_request) }
    }

    /// See [`AuditSocket::is_http`].
    #[inline(always)]
    pub(crate) fn is_http(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.known).audit.is_http() }
    }

    /// See [`AuditSocket::is_tls`].
    #[inline(always)]
    pub(crate) fn is_tls(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.known).audit.is_tls() }
    }

    /// See [`AuditSocket::takes`].
    #[inline(always)]
    pub(crate) fn takes(self, outcome: SendOutcome, written: i64) -> Takes {
        let unacknowledged = self.sk.unacknowledged_before(written);
        // SAFETY: as above; no arguments for the clock. Two threads that write to one socket at once, which the
        // server's lock prevents, would only tear times.
        unsafe {
            let audit = &mut (*self.known).audit;
            audit.takes(outcome, unacknowledged, bpf_ktime_get_ns())
        }
    }
}

/// Adds a new TCP connection.
#[inline(always)]
pub(crate) fn register(sk: Sock) {
    register_as(sk, 0);
}

/// Adds a new socket in place of any earlier one at this address, unless it is a connection of another node of the cluster. An
/// LRU table makes room by itself; if it fails all the same, this call is not reported, and the socket is new at its next one.
#[inline(always)]
fn register_as(sk: Sock, leads_to: u32) {
    let peers = peers(sk.local_port());
    match peers {
        Some(Peers::Nodes) => return mode::count(Count::Nodes, 1),
        Some(Peers::Undecided) => return,
        Some(Peers::Clients) | None => {}
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let known = Known {
        born: now,
        audit: AuditSocket::new(now),
        accepted: u32::from(peers.is_some()),
        role: 0,
        role_generation: 0,
        leads_to,
        name: Name::NONE,
    };
    if SOCKETS.insert(sk.0, known, 0).is_ok() {
        mode::count(Count::Sockets, 1);
    }
}

#[inline(always)]
pub(crate) fn forget(sk: Sock) {
    if SOCKETS.remove(sk.0).is_ok() {
        mode::count(Count::Sockets, -1);
    }
    connections::forget(sk);
}
