//! The kernel side that holds routine back, as a model of `tracer-ebpf/src/hold.rs`, and the agent's side of it
//! between that and the core.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use tracer::source::{
    holding::{Holding, KernelSide},
    routine::{Kept, Last, Role},
};
use tracer_core::{BufferedActivity, Core};
use tracer_model::{
    Actor, BufferedTotals, Device, Event, EventKind, Nanos, Socket, SocketId, TcpState, WaitReason,
    took_all,
};

/// A peer that acknowledges nothing for so long, ns, is told.
const SILENT: Nanos = 500_000_000;

/// `-EAGAIN`.
const EAGAIN: i64 = -11;

/// Slots for entries.
const TANK: usize = 4096;

/// What the programs keep.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    is_on: bool,
    /// Something has failed: all is told, and what is kept stays as it is.
    is_over: bool,
    roles: HashMap<SocketId, Role>,
    connections: BTreeMap<SocketId, Last>,
    tank: Vec<Event>,
    silence: HashMap<SocketId, (u32, Nanos)>,
    readers: HashSet<u64>,
    writers: HashSet<u64>,
    short: HashSet<SocketId>,
    routine: BufferedTotals,
    receives: u64,
}

impl Kernel {
    /// As it is when the probes have been attached.
    fn holding() -> Self {
        Self {
            is_on: true,
            ..Self::default()
        }
    }
}

impl KernelSide for Kernel {
    fn switch(&mut self, on: bool) -> Result<()> {
        self.is_on = on;
        self.is_over = false;
        Ok(())
    }

    fn set_role(&mut self, socket: SocketId, role: Role) {
        self.roles.insert(socket, role);
    }

    fn routine(&mut self) -> Result<BufferedTotals> {
        Ok(std::mem::take(&mut self.routine))
    }

    fn so_far(&self) -> Result<BufferedTotals> {
        Ok(self.routine.clone())
    }

    fn newest(&self) -> Result<Vec<Event>> {
        Ok(self.tank.iter().rev().take(4).cloned().collect())
    }

    fn counts_streams(&self) -> bool {
        true
    }

    fn reads(&self, goid: u64) -> bool {
        self.readers.contains(&goid)
    }

    fn connections(&self) -> Vec<Last> {
        self.connections.values().cloned().collect()
    }

    fn entries(&mut self) -> Result<Vec<Event>> {
        Ok(std::mem::take(&mut self.tank))
    }

    fn receives(&self) -> Result<u64> {
        Ok(self.receives)
    }

    fn sockets(&self) -> Result<(u64, u64)> {
        Ok((0, 0))
    }
}

fn goid(by: Actor) -> u64 {
    by.goid.unwrap_or(0)
}

impl Kernel {
    /// Whether this is told.
    fn happens(&mut self, event: &Event) -> bool {
        let is_told = self.is_over || self.keeps(event);
        let own = event.socket().filter(|socket| !self.is_silenced(socket));
        if self.is_on && own.is_some() && fails(&event.what) {
            self.is_over = true;
        }
        is_told
    }

    fn keeps(&mut self, event: &Event) -> bool {
        match &event.what {
            EventKind::Receive {
                socket, by, bytes, ..
            } => {
                if *bytes > 0 {
                    self.received(event, socket, *by);
                }
                !self.is_on
            }
            EventKind::Send {
                socket, by, status, ..
            } if socket.accepted => {
                if status.is_none_or(|status| status >= 200) {
                    self.sent(event, socket);
                }
                !self.is_on
            }
            EventKind::Send { .. } => self.writes(event),
            _ => {
                let is_close = matches!(
                    &event.what,
                    EventKind::State {
                        new: TcpState::Close,
                        ..
                    }
                );
                let socket = event.socket().filter(|socket| socket.accepted);
                if let Some(socket) = socket.filter(|_| is_close) {
                    self.connections.remove(&socket.id);
                }
                !self.is_on
                    || !event
                        .socket()
                        .is_some_and(|socket| self.is_silenced(socket))
            }
        }
    }

    fn is_silenced(&self, socket: &Socket) -> bool {
        socket.accepted || self.roles.get(&socket.id) == Some(&Role::Other)
    }

    fn kept(&self, event: &Event) -> Kept {
        Kept {
            event: event.clone(),
            is_told: !self.is_on,
        }
    }

    fn received(&mut self, event: &Event, socket: &Socket, by: Actor) {
        self.receives += u64::from(self.is_on);
        let kept = self.kept(event);
        let last = self.connections.entry(socket.id).or_default();
        let waits = last.asked_at() > last.answered_at();
        let is_shared = last.sent.is_some() && last.server().is_none();
        if waits && !is_shared && !last.is_handshake() {
            return;
        }
        last.received = Some(kept);
        self.readers.insert(goid(by));
    }

    fn sent(&mut self, event: &Event, socket: &Socket) {
        let kept = self.kept(event);
        let last = self.connections.entry(socket.id).or_default();
        let asked = last.asked_at() > last.answered_at();
        last.sent = Some(kept);
        if self.is_on && last.server().is_some() && asked && !last.is_handshake() {
            self.routine.requests += 1;
        }
    }

    fn writes(&mut self, event: &Event) -> bool {
        let EventKind::Send {
            socket,
            by,
            result,
            requested,
            tcp,
            ..
        } = &event.what
        else {
            return true;
        };
        let whole = took_all(*result, *requested);
        if !self.is_on {
            return true;
        }
        match self.roles.get(&socket.id) {
            Some(Role::Other) => return false,
            Some(Role::Audit) if requested.is_some() => {
                let was_short = !self.short.insert(socket.id);
                if whole {
                    self.short.remove(&socket.id);
                }
                if was_short || !whole {
                    return true;
                }
            }
            _ => return true,
        }
        if let Some(tcp) = tcp {
            let before = tcp.end.wrapping_sub(*result as u32);
            let silence = self.silence.entry(socket.id).or_insert((tcp.una, event.at));
            if before == tcp.una || silence.0 != tcp.una {
                *silence = (tcp.una, event.at);
            }
            if event.at - silence.1 > SILENT {
                return true;
            }
        }
        self.routine.audit_writes += 1;
        if !self.readers.contains(&goid(*by)) && self.writers.insert(goid(*by)) {
            self.routine.requests += 1;
        }
        if self.tank.len() == TANK {
            self.tank.remove(0);
        }
        self.tank.push(event.clone());
        false
    }
}

/// Whether a write or a connection has failed, or is given up.
fn fails(what: &EventKind) -> bool {
    match what {
        EventKind::Send { result, .. } => *result < 0 && *result != EAGAIN,
        EventKind::State { old, new, .. } => {
            let opens = *old == TcpState::SynSent && *new == TcpState::Established;
            *new != TcpState::SynSent && !opens
        }
        EventKind::ConnectFailed { .. } => true,
        _ => false,
    }
}

/// The agent between its kernel side and the core, as `commands/trace/live.rs` has it.
pub(crate) struct Between {
    holding: Holding<Kernel>,
    found: Vec<(u64, WaitReason, Option<Device>)>,
}

impl Between {
    pub(crate) fn new(now: Nanos) -> Self {
        Self {
            holding: Holding::new(Kernel::holding(), true, 100_000_000, now),
            found: Vec::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.holding.is_on()
    }

    /// What is held back now.
    #[allow(dead_code, reason = "not every test asks how things stand")]
    pub(crate) fn so_far(&self) -> BufferedActivity {
        self.holding.so_far().expect("a model")
    }

    /// Whether to look at the server's goroutines.
    pub(crate) fn looks(&mut self, now: Nanos) -> bool {
        self.holding.look(now).expect("a model")
    }

    /// What the core is to be given of what happens; `core` as it is before.
    pub(crate) fn pass(&mut self, event: Event, core: &Core) -> Vec<Event> {
        match &event.what {
            EventKind::End | EventKind::SendQueues { .. } => {
                let sum = self.holding.sum(event.at).expect("a model");
                sum.into_iter().chain([event]).collect()
            }
            EventKind::Tick if self.holding.is_overdue(event.at) => {
                let mut given = self.resume(event.at);
                given.push(event);
                given
            }
            EventKind::Tick | EventKind::EntryFound { .. } if self.is_on() => Vec::new(),
            EventKind::Tick => {
                if self.holding.is_well(event.at) && core.is_calm() {
                    self.holding.prepare().expect("a model");
                    self.holding.start(event.at);
                }
                vec![event]
            }
            EventKind::GoroutinesSampled {
                goroutines,
                handlers: None,
            } => {
                let found = goroutines
                    .iter()
                    .map(|parked| (parked.goid, parked.place, parked.device.clone()));
                let before = std::mem::replace(&mut self.found, found.collect());
                let is_stuck = self.found.iter().any(|found| before.contains(found));
                if !self.is_on() {
                    return vec![event];
                }
                if !is_stuck {
                    return Vec::new();
                }
                self.holding.is_alarmed();
                let mut given = self.resume(event.at);
                given.push(event);
                given
            }
            EventKind::Session(_)
            | EventKind::RecordsLost { .. }
            | EventKind::EntryFound { .. } => vec![event],
            _ => self.happens(event),
        }
    }

    fn happens(&mut self, event: Event) -> Vec<Event> {
        // The agent looks often enough.
        if self.holding.is_overdue(event.at) {
            let mut given = self.resume(event.at);
            given.extend(self.happens(event));
            return given;
        }
        if !self.holding.kernel().happens(&event) {
            return Vec::new();
        }
        let at = event.at;
        let (given, is_over) = self.holding.take(event, at);
        let mut given: Vec<_> = given.into_iter().collect();
        if is_over {
            given.extend(self.resume(at));
        } else {
            self.holding.go_on().expect("a model");
        }
        given
    }

    fn resume(&mut self, now: Nanos) -> Vec<Event> {
        let since = self.holding.stop(now).expect("a model");
        since.map_or_else(Vec::new, |since| {
            let recalled = self.holding.recall(Vec::new(), (since, now));
            recalled.expect("a model")
        })
    }
}
