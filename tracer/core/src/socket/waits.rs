//! What is asked of the sockets: who waits for which, since when, and what they still hold.

use std::net::SocketAddr;

use rustc_hash::FxHashSet;

use super::{End, Sockets, connection::Connection};
use tracer_model::{Device, GoroutineSample, Nanos, Operation, SendQueue, SocketId, Transport};

/// Who is in doubt and not found by so many looks in a row has gone on: one look may meet it on the move.
const MISSED: u32 = 2;

impl Sockets {
    /// What waits now, as operations without an outcome, eldest first; and whether it has been told of.
    pub fn open_waits(&self, now: Nanos) -> Vec<(Operation, bool)> {
        let end = End::cut(now);
        let waits = self.open.iter().filter_map(|(id, connection)| {
            Some((
                connection.so_far(*id, end)?,
                connection.waiting.as_ref()?.told,
            ))
        });
        let mut waits: Vec<_> = waits.collect();
        waits.sort_by_key(|(operation, _)| (operation.start, operation.socket));
        waits
    }

    /// What this goroutine waits for, if it does, as [`Self::open_waits`] has it.
    pub fn open_wait(&self, goid: u64, now: Nanos) -> Option<Operation> {
        let id = *self.waiting.get(&goid)?;
        self.open.get(&id)?.so_far(id, End::cut(now))
    }

    /// When the waits that have not been told of began, and for which device.
    pub fn untold(&self) -> impl Iterator<Item = (Nanos, &Device)> {
        let waits = self.open.values().filter_map(|c| c.waiting.as_ref());
        let untold = waits.filter(|waiting| !waiting.told);
        untold.map(|waiting| (waiting.start, &waiting.device))
    }

    /// Whether nobody waits, and all connections deliver what is written to them.
    pub fn are_calm(&self) -> bool {
        let is_calm = |c: &Connection| c.waiting.is_none() && c.is_open() && !c.silence.is_long();
        self.open.values().all(is_calm)
    }

    /// All that went on is over; what connections still hold is told anew.
    pub fn go_on(&mut self) {
        *self = Self {
            shows_tcp: self.shows_tcp,
            ..Self::default()
        };
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept() == 0
    }

    /// How many things are kept.
    pub fn kept(&self) -> usize {
        self.open.len() + self.waiting.len()
    }

    /// Marks a wait as told of.
    pub fn tell(&mut self, socket: SocketId) {
        if let Some(waiting) = self.open.get_mut(&socket).and_then(|c| c.waiting.as_mut()) {
            waiting.told = true;
        }
    }

    /// Whether this goroutine waits for a socket.
    pub fn is_waiting(&self, goid: u64) -> bool {
        self.waiting.contains_key(&goid)
    }

    /// For which device it waits, if it does.
    pub fn waits_for(&self, goid: u64) -> Option<&Device> {
        let connection = self.open.get(self.waiting.get(&goid)?)?;
        Some(&connection.waiting.as_ref()?.device)
    }

    /// Takes the stack on which a goroutine was found waiting at that time.
    pub fn found(&mut self, at: Nanos, parked: &GoroutineSample) {
        let socket = self.waiting.get(&parked.goid);
        let connection = socket
            .filter(|_| parked.is_at_a_socket())
            .and_then(|id| self.open.get_mut(id));
        if let Some(waiting) = connection.and_then(|connection| connection.waiting.as_mut()) {
            waiting.seen = waiting.seen.max(at);
            waiting.missed = waiting.missed.map(|_| 0);
            waiting.frames.clone_from(&parked.frames);
            waiting.phase = parked.phase();
        }
    }

    /// Events were lost: what waits may have ended since.
    pub fn doubt(&mut self) {
        for waiting in self.open.values_mut().filter_map(|c| c.waiting.as_mut()) {
            waiting.missed = Some(0);
        }
    }

    /// Ends the waits that are in doubt and that looks did not find any more, when they were last seen.
    pub fn missed(&mut self, found: &[GoroutineSample]) -> Vec<Operation> {
        let mut missed: Vec<_> = self.in_doubt().collect();
        if missed.is_empty() {
            return Vec::new();
        }
        let found = found.iter().filter(|parked| parked.is_at_a_socket());
        let found: FxHashSet<_> = found.map(|parked| parked.goid).collect();
        missed.retain(|(goid, _)| !found.contains(goid));
        missed.retain(|(_, id)| self.is_missed(*id));
        missed.sort_unstable();
        let ended = missed
            .into_iter()
            .filter_map(|(_, id)| self.ends_unseen(id));
        ended.map(|operation| *operation).collect()
    }

    fn in_doubt(&self) -> impl Iterator<Item = (u64, SocketId)> {
        let waits = self.waiting.iter().map(|(goid, id)| (*goid, *id));
        waits.filter(|(_, id)| {
            let waiting = self.open.get(id).and_then(|c| c.waiting.as_ref());
            waiting.is_some_and(|waiting| waiting.missed.is_some())
        })
    }

    fn is_missed(&mut self, id: SocketId) -> bool {
        let waiting = self.open.get_mut(&id).and_then(|c| c.waiting.as_mut());
        let missed = waiting.and_then(|waiting| waiting.missed.as_mut());
        missed.is_some_and(|missed| {
            *missed += 1;
            *missed >= MISSED
        })
    }

    /// It waits no more, and how that ended was lost. Certain is that it waited until it was last seen to.
    pub(super) fn ends_unseen(&mut self, id: SocketId) -> Option<Box<Operation>> {
        let seen = self.open.get(&id)?.waiting.as_ref()?.seen;
        self.finish(id, End::cut(seen))
    }

    /// When the wait that has lasted longest began.
    pub fn waits_since(&self) -> Option<Nanos> {
        let waits = self.open.values().filter_map(|c| c.waiting.as_ref());
        waits.map(|waiting| waiting.start).min()
    }

    /// Devices in which somebody is stalled now.
    pub fn stalled(&self) -> Vec<Device> {
        let waiting = self.open.values().filter_map(|c| c.waiting.as_ref());
        let mut devices: Vec<_> = waiting.map(|waiting| waiting.device.clone()).collect();
        devices.sort();
        devices.dedup();
        devices
    }

    /// Since when a connection of this device, which the server has not closed, has acknowledged nothing.
    pub fn fills_since(&self, device: &Device) -> Option<Nanos> {
        let open = self.open.values().filter(|c| c.is_open());
        let of_device = open.filter(|c| c.device.as_ref() == Some(device));
        of_device.filter_map(|c| c.silence.long_since()).min()
    }

    /// Whether the server has a connection to this device.
    pub fn connected(&self, device: &Device) -> bool {
        let mut to_device = self
            .open
            .values()
            .filter(|c| c.device.as_ref() == Some(device));
        to_device.any(Connection::is_open)
    }

    /// Whether all is known that this device has lost so far: not of datagrams and Unix sockets, and
    /// not while the kernel still tries to deliver what the server has closed.
    pub fn know_losses(&self, device: &Device) -> bool {
        let mut of_device = self
            .open
            .values()
            .filter(|c| c.device.as_ref() == Some(device));
        let tells = self.shows_tcp && device.transport == Transport::Tcp;
        tells && !of_device.any(|c| c.pending(0).is_some())
    }

    /// Local and remote ends of connections that the server has closed and the kernel has not.
    pub fn closing(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let undelivered = self.open.values().filter(|c| c.gone.is_none());
        undelivered.filter_map(|c| c.ends).collect()
    }

    /// Takes what the send queues hold at the end of the trace.
    pub fn hold(&mut self, at: Nanos, queues: &[SendQueue]) {
        for queue in queues {
            let ends = Some((queue.local, queue.remote));
            let mut of_queue = self.open.values_mut().filter(|c| c.ends == ends);
            if let Some(connection) = of_queue.next() {
                connection.ledger.holds(at, queue.bytes);
            }
        }
    }
}
