//! A model of the programs' capture mode, which makes their decisions by the same code (`tracer_ebpf::capture`), and
//! the agent's controller between it and the core.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use anyhow::Result;
use test_events::THRESHOLD;
use test_support::simulation::Capture;
use tracer::source::capture::{
    CaptureController, KernelSide, Observed,
    classify::state_change,
    restore::{BufferedConnection, BufferedEvent},
};
use tracer_core::{BufferedActivity, Core};
use tracer_ebpf::{
    abi::{Count, UNKNOWN},
    capture::{
        AuditSocket, ClientConnection, Disposition, Mode, Role, StateChange, dispose_of_send,
        is_ignored,
    },
    protocol::{SendOutcome, is_interim},
};
use tracer_model::{
    BufferedTotals, Device, Event, EventKind, Nanos, Socket, SocketId, TcpState, Transport,
    WaitReason,
};

/// Slots for entries.
const ENTRY_RING: usize = 4096;

/// The programs and their maps.
#[derive(Debug, Default)]
pub(crate) struct SimulatedKernel {
    mode: Mode,
    roles: HashMap<SocketId, Role>,
    destinations: HashMap<(Transport, SocketAddr), Role>,
    connections: BTreeMap<SocketId, BufferedConnection>,
    entry_ring: Vec<Event>,
    audit_sockets: HashMap<SocketId, AuditSocket>,
    readers: HashSet<u64>,
    writers: HashSet<u64>,
    totals: BufferedTotals,
    receives: u64,
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
        self.roles.insert(socket, role);
    }

    fn set_destination(&mut self, destination: (Transport, SocketAddr), role: Role) {
        self.destinations.insert(destination, role);
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
    /// Whether the programs send this event to the agent.
    fn sends(&mut self, event: &Event) -> bool {
        match &event.what {
            EventKind::Receive { socket, bytes, .. } => {
                if *bytes > 0 && self.mode != Mode::Frozen {
                    self.received(event, socket);
                }
                self.mode != Mode::Buffer
            }
            EventKind::Send { socket, status, .. } if socket.accepted => {
                if !is_interim(status.unwrap_or(0)) && self.mode != Mode::Frozen {
                    self.sent(event, socket);
                }
                self.mode != Mode::Buffer
            }
            EventKind::Send { socket, .. } => {
                self.mode != Mode::Buffer || self.writes(event, socket)
            }
            what => self.sends_other(event, what),
        }
    }

    fn sends_other(&mut self, event: &Event, what: &EventKind) -> bool {
        let ignored = event.socket().is_some_and(|socket| {
            is_ignored(socket.accepted, self.role(socket)) && self.mode == Mode::Buffer
        });
        match what {
            EventKind::State { socket, new, .. }
                if *new == TcpState::Close && self.mode != Mode::Frozen =>
            {
                self.connections.remove(&socket.id);
            }
            _ => {}
        }
        let fails = matches!(what, EventKind::ConnectFailed { .. })
            || state_change(what).is_some_and(StateChange::freezes);
        if fails && !ignored {
            self.mode = self.mode.after_failure();
        }
        !ignored
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

    /// A send on a socket that the server opened, while buffering.
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
        let role = self.role(socket);
        let state = self.audit_sockets.entry(socket.id);
        let state = state.or_insert_with(|| AuditSocket::new(event.at));
        let is_normal = || state.takes(outcome, unacknowledged, event.at);
        match dispose_of_send(role, outcome, requested.is_some(), is_normal) {
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

    fn buffers(&mut self, event: &Event) {
        self.totals.audit_writes += 1;
        let goid = goid(event);
        let is_over_http = match &event.what {
            EventKind::Send { entry, .. } => entry.as_ref().is_some_and(|entry| entry.over_http),
            _ => false,
        };
        let is_counted = self.counts_streams() && !is_over_http;
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
    ClientConnection {
        received_at: connection.received_at(),
        sent_at: connection.sent_at(),
        is_served_by_reader: connection.server().is_some(),
        is_handshake: connection.is_handshake(),
    }
}

/// The controller between the programs and the core, as `commands/trace/live.rs` uses it.
pub(crate) struct SimulatedCapture {
    controller: CaptureController<SimulatedKernel>,
    sampled: Vec<(u64, WaitReason, Option<Device>)>,
}

impl SimulatedCapture {
    /// As it is when the probes have been attached.
    pub(crate) fn new(now: Nanos) -> Self {
        Self::of(false, now)
    }

    /// The same for the server of a replay case of this name: those of Vault are of 1.16 and later, which have sinks.
    pub(crate) fn of_case(name: &str, now: Nanos) -> Self {
        Self::of(name.starts_with("vault-"), now)
    }

    fn of(has_sinks: bool, now: Nanos) -> Self {
        let kernel = SimulatedKernel {
            mode: Mode::Buffer,
            has_sinks,
            ..SimulatedKernel::default()
        };
        Self {
            controller: CaptureController::new(kernel, true, THRESHOLD, now),
            sampled: Vec::new(),
        }
    }

    pub(crate) fn activity(&self) -> BufferedActivity {
        self.controller.activity().expect("a model")
    }
}

impl Capture for SimulatedCapture {
    fn is_buffering(&self) -> bool {
        self.controller.is_buffering()
    }

    fn begins_sample(&mut self, now: Nanos) -> bool {
        self.controller.begins_sample(now).expect("a model")
    }

    fn pass(&mut self, event: Event, core: &Core) -> Vec<Event> {
        match &event.what {
            EventKind::End | EventKind::SendQueues { .. } | EventKind::ServerEnded => {
                let totals = self.controller.finish(event.at).expect("a model");
                totals.into_iter().chain([event]).collect()
            }
            EventKind::Restarted(_) => {
                *self = Self::new(event.at);
                vec![event]
            }
            EventKind::Tick if self.controller.is_overdue(event.at) => {
                let mut given = self.stop_buffering(event.at);
                given.push(event);
                given
            }
            EventKind::Tick | EventKind::EntryFound { .. } if self.is_buffering() => Vec::new(),
            EventKind::Tick => {
                if self.controller.is_quiet(event.at) && core.may_buffer() {
                    self.controller.prepare_buffering().expect("a model");
                    self.controller.start_buffering(event.at);
                }
                vec![event]
            }
            EventKind::GoroutinesSampled { .. } => self.sampled(event),
            EventKind::Session(_)
            | EventKind::DevicesRead { .. }
            | EventKind::RecordsLost { .. }
            | EventKind::EntryFound { .. } => vec![event],
            _ => self.happens(event),
        }
    }
}

impl SimulatedCapture {
    fn sampled(&mut self, event: Event) -> Vec<Event> {
        let EventKind::GoroutinesSampled { goroutines, .. } = &event.what else {
            return vec![event];
        };
        let sampled = goroutines
            .iter()
            .map(|sample| (sample.goid, sample.place, sample.device.clone()));
        let before = std::mem::replace(&mut self.sampled, sampled.collect());
        let is_stuck = self.sampled.iter().any(|sample| before.contains(sample));
        if !self.is_buffering() {
            return vec![event];
        }
        if !is_stuck {
            return Vec::new();
        }
        self.controller.alarm();
        let mut given = self.stop_buffering(event.at);
        given.push(event);
        given
    }

    fn happens(&mut self, event: Event) -> Vec<Event> {
        // The agent checks often enough.
        if self.controller.is_overdue(event.at) {
            let mut given = self.stop_buffering(event.at);
            given.extend(self.happens(event));
            return given;
        }
        if !self.controller.kernel().sends(&event) {
            return Vec::new();
        }
        let at = event.at;
        self.controller.is_frozen().expect("a model");
        match self.controller.observe(event, at) {
            Observed::Forward(event) => vec![event],
            Observed::Absorbed => Vec::new(),
            Observed::StopBuffering => self.stop_buffering(at),
        }
    }

    fn stop_buffering(&mut self, now: Nanos) -> Vec<Event> {
        let since = self.controller.stop_buffering(now).expect("a model");
        since.map_or_else(Vec::new, |since| {
            let restored = self.controller.restore(Vec::new(), (since, now));
            restored.expect("a model")
        })
    }
}
