//! The programs and their maps.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use anyhow::Result;
use tracer::source::capture::{
    KernelSide,
    classify::state_change,
    restore::{BufferedConnection, BufferedEvent},
};
use tracer_ebpf::{
    abi::{Count, UNKNOWN},
    capture::{
        AuditSocket, ClientConnection, Disposition, Mode, Role, Takes, dispose_of_send, is_ignored,
    },
    protocol::{SendOutcome, TCP_CLOSE_WAIT, is_interim},
    state_change::{EPIPE, StateChange},
};
use tracer_model::{BufferedTotals, Event, EventKind, Socket, SocketId, TcpState, Transport};

/// Slots for entries.
const ENTRY_RING: usize = 4096;

/// The programs and their maps.
#[derive(Debug, Default)]
pub(super) struct SimulatedKernel {
    mode: Mode,
    roles: HashMap<SocketId, Role>,
    destinations: HashMap<(Transport, SocketAddr), Role>,
    entry_requests: HashSet<(SocketAddr, u64)>,
    connections: BTreeMap<SocketId, BufferedConnection>,
    entry_ring: Vec<Event>,
    audit_sockets: HashMap<SocketId, AuditSocket>,
    /// The last of each socket.
    changes: HashMap<SocketId, StateChange>,
    readers: HashSet<u64>,
    writers: HashSet<u64>,
    totals: BufferedTotals,
    receives: u64,
    /// Whether all that it writes to audit devices is within TLS.
    pub(super) has_tls: bool,
    /// Whether the server writes entries in goroutines of their own, which are no requests.
    has_sinks: bool,
}

impl KernelSide for SimulatedKernel {
    fn mode(&self) -> Result<Mode> {
        Ok(self.mode)
    }

    fn set_mode(&mut self, mode: Mode) -> Result<()> {
        self.mode = mode;
        Ok(())
    }

    fn set_role(&mut self, socket: SocketId, role: Role) {
        match role {
            Role::Unknown => drop(self.roles.remove(&socket)),
            role => drop(self.roles.insert(socket, role)),
        }
    }

    fn set_destination(&mut self, destination: (Transport, SocketAddr), role: Role) {
        self.destinations.insert(destination, role);
    }

    fn set_entry_request(&mut self, remote: SocketAddr, hash: u64) {
        self.entry_requests.insert((remote, hash));
    }

    fn take_totals(&mut self) -> Result<BufferedTotals> {
        Ok(std::mem::take(&mut self.totals))
    }

    fn totals(&self) -> Result<BufferedTotals> {
        Ok(self.totals.clone())
    }

    fn take_entries(&mut self) -> Result<Vec<Event>> {
        Ok(std::mem::take(&mut self.entry_ring))
    }

    fn newest_entries(&self) -> Result<Vec<Event>> {
        Ok(self.entry_ring.iter().rev().take(4).cloned().collect())
    }

    fn connections(&self) -> Vec<BufferedConnection> {
        self.connections.values().cloned().collect()
    }

    fn counts_streams(&self) -> bool {
        !self.has_sinks
    }

    fn is_reader(&self, goid: u64) -> bool {
        self.readers.contains(&goid)
    }

    fn receives(&self) -> Result<u64> {
        Ok(self.receives)
    }

    fn sockets(&self) -> Result<(u64, u64)> {
        Ok((0, 0))
    }
}

fn goid(event: &Event) -> u64 {
    event.actor().and_then(|by| by.goid).unwrap_or(0)
}

impl SimulatedKernel {
    /// It buffers from the beginning.
    pub(super) fn new(has_sinks: bool) -> Self {
        Self {
            mode: Mode::Buffer,
            has_sinks,
            ..Self::default()
        }
    }

    /// Whether the programs send this event to the agent.
    pub(super) fn sends(&mut self, event: &Event) -> bool {
        match &event.what {
            EventKind::Receive { socket, bytes, .. } => {
                if *bytes > 0 && self.mode != Mode::Frozen {
                    self.received(event, socket);
                }
                self.mode != Mode::Buffer
            }
            EventKind::Send { socket, status, .. } if socket.accepted => {
                match self.mode {
                    _ if is_interim(status.unwrap_or(0)) => {}
                    Mode::Frozen => self.is_answered(socket.id),
                    Mode::Buffer | Mode::Stream => self.sent(event, socket),
                }
                self.mode != Mode::Buffer
            }
            EventKind::Send { socket, .. } => self.writes(event, socket),
            what => self.sends_other(event, what),
        }
    }

    fn sends_other(&mut self, event: &Event, what: &EventKind) -> bool {
        let ignored = event.socket().is_some_and(|socket| {
            is_ignored(socket.accepted, self.role(socket)) && self.mode == Mode::Buffer
        });
        match what {
            EventKind::State { socket, new, .. } if *new == TcpState::Close => match self.mode {
                Mode::Frozen => self.is_answered(socket.id),
                Mode::Buffer | Mode::Stream => drop(self.connections.remove(&socket.id)),
            },
            _ => {}
        }
        if let Some(socket) = event.socket()
            && self.leaves_out(what, socket)
        {
            return false;
        }
        let is_tls = event.socket().is_some_and(|socket| self.is_tls(socket));
        let change = state_change(what, is_tls);
        if let (Some(change), Some(socket)) = (change, event.socket()) {
            self.changes.insert(socket.id, change);
        }
        let fails = matches!(what, EventKind::ConnectFailed { .. })
            || change.is_some_and(StateChange::freezes);
        if fails && !ignored {
            self.mode = self.mode.after_failure();
        }
        !ignored
    }

    /// Whether this is a RST that harms nobody.
    fn leaves_out(&self, what: &EventKind, socket: &Socket) -> bool {
        let change = self.changes.get(&socket.id);
        let old = match what {
            EventKind::Reset { .. } => change.map(|change| change.new),
            EventKind::SocketError { errno: EPIPE, .. } => Some(TCP_CLOSE_WAIT),
            _ => None,
        };
        let (Some(change), Some(old)) = (change, old) else {
            return false;
        };
        let reset = StateChange::by_reset(change.is_tls, old, change.outstanding);
        self.mode == Mode::Buffer && reset.is_harmless_reset()
    }

    fn is_tls(&self, socket: &Socket) -> bool {
        self.has_tls && self.role(socket) == Role::Audit
    }

    fn role(&self, socket: &Socket) -> Role {
        let of_all = |remote| self.destinations.get(&(socket.transport, remote));
        let of_all = || socket.remote.and_then(of_all);
        let role = self.roles.get(&socket.id).or_else(of_all);
        role.copied().unwrap_or_default()
    }

    fn buffered(&self, event: &Event) -> BufferedEvent {
        BufferedEvent {
            event: event.clone(),
            was_sent: self.mode != Mode::Buffer,
            was_answered: false,
        }
    }

    fn received(&mut self, event: &Event, socket: &Socket) {
        self.receives += u64::from(self.mode == Mode::Buffer);
        let buffered = self.buffered(event);
        let connection = self.connections.entry(socket.id).or_default();
        if summary(connection).begins_request() {
            connection.received = Some(buffered);
            self.readers.insert(goid(event));
        }
    }

    fn sent(&mut self, event: &Event, socket: &Socket) {
        let buffered = self.buffered(event);
        let connection = self.connections.entry(socket.id).or_default();
        let sent_at = connection.sent_at();
        connection.sent = Some(buffered);
        let connection = ClientConnection {
            sent_at,
            ..summary(connection)
        };
        if self.mode != Mode::Buffer {
            return;
        }
        match connection.count_of_send() {
            Some(Count::Answers) => self.totals.requests += 1,
            Some(Count::Frames) => self.totals.at_least |= self.has_sinks,
            _ => {}
        }
    }

    fn is_answered(&mut self, id: SocketId) {
        let received = self.connections.get_mut(&id);
        if let Some(received) = received.and_then(|connection| connection.received.as_mut()) {
            received.was_answered = true;
        }
    }

    /// A send on a socket that the server opened.
    fn writes(&mut self, event: &Event, socket: &Socket) -> bool {
        let EventKind::Send {
            result,
            requested,
            tcp,
            ..
        } = &event.what
        else {
            return true;
        };
        let outcome = SendOutcome::of(*result, requested.unwrap_or(UNKNOWN));
        let unacknowledged = tcp.as_ref().map_or((0, 0), |tcp| {
            (tcp.una, tcp.end.wrapping_sub(*result as u32))
        });
        let role = self.role_by_bytes(event, socket);
        let state = self.audit_sockets.entry(socket.id);
        let state = state.or_insert_with(|| AuditSocket::new(event.at));
        let takes = match role {
            Role::Audit => state.takes(outcome, unacknowledged, event.at),
            Role::Unknown | Role::Device | Role::Other => Takes::Late,
        };
        if self.mode != Mode::Buffer {
            return true;
        }
        match dispose_of_send(role, outcome, requested.is_some(), takes) {
            Disposition::Discard => false,
            Disposition::Buffer => {
                self.buffers(event);
                false
            }
            Disposition::Stream => true,
            Disposition::Freeze => {
                self.mode = self.mode.after_failure();
                true
            }
        }
    }

    fn role_by_bytes(&mut self, event: &Event, socket: &Socket) -> Role {
        let EventKind::Send { entry, .. } = &event.what else {
            return Role::Unknown;
        };
        let hash = entry.as_ref().and_then(|entry| entry.request_hash);
        let request = socket.remote.zip(hash);
        let shows_entries = request.is_some_and(|request| self.entry_requests.contains(&request));
        let role = self.role(socket);
        let shows_tls = role == Role::Device && self.has_tls;
        if matches!(role, Role::Unknown | Role::Device) && (shows_entries || shows_tls) {
            self.roles.insert(socket.id, Role::Audit);
        }
        self.role(socket)
    }

    fn buffers(&mut self, event: &Event) {
        self.totals.audit_writes += u64::from(!self.has_tls);
        let goid = goid(event);
        let is_over_http = match &event.what {
            EventKind::Send { entry, .. } => entry.as_ref().is_some_and(|entry| entry.over_http),
            _ => false,
        };
        let is_counted = self.counts_streams() && !is_over_http && !self.has_tls;
        if is_counted && !self.readers.contains(&goid) && self.writers.insert(goid) {
            self.totals.requests += 1;
        }
        if self.entry_ring.len() == ENTRY_RING {
            self.entry_ring.remove(0);
        }
        self.entry_ring.push(event.clone());
    }
}

fn summary(connection: &BufferedConnection) -> ClientConnection {
    let received = connection.received.as_ref();
    let is_answered = received.is_some_and(|received| received.was_answered);
    ClientConnection {
        received_at: if is_answered {
            0
        } else {
            connection.received_at()
        },
        sent_at: connection.sent_at(),
        is_served_by_reader: connection.server().is_some(),
        is_handshake: connection.is_handshake(),
    }
}
