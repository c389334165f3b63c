//! What is asked of the sockets: who waits for which, since when, and what they still hold.

use std::net::SocketAddr;

use rustc_hash::FxHashSet;

use crate::track::{
    connection::{Connection, Ending},
    sockets::Sockets,
};
use tracer_model::{
    Actor, Device, EntryHead, GoroutineSample, Nanos, Operation, SendQueue, SocketId, Transport,
};

/// Who is in doubt and not found by so many looks in a row has gone on: one look may meet it on the move.
const MISSED: u32 = 2;

impl Sockets {
    /// What waits now, as operations without an outcome, eldest first; and whether it has been reported of. What may have ended
    /// among lost records is not in it.
    pub(crate) fn open_waits(&self, now: Nanos) -> Vec<(Operation, bool)> {
        let end = Ending::cut(now);
        let certain = self.open.iter().filter(|(_, c)| !c.is_in_doubt());
        let waits = certain.filter_map(|(id, connection)| {
            Some((
                connection.so_far(*id, end)?,
                connection.waiting.as_ref()?.reported,
            ))
        });
        let mut waits: Vec<_> = waits.collect();
        waits.sort_by_key(|(operation, _)| (operation.start, operation.socket));
        waits
    }

    /// The sockets of this device for which somebody waits, and who does.
    pub(crate) fn waits_for(&self, device: &Device) -> Vec<(SocketId, Actor)> {
        let waits = self.open.iter().filter_map(|(id, connection)| {
            let waiting = connection.waiting.as_ref()?;
            (waiting.device == *device).then_some((*id, waiting.by))
        });
        let mut waits: Vec<_> = waits.collect();
        waits.sort_by_key(|(id, _)| *id);
        waits
    }

    /// What this goroutine waits for, if it does, as [`Self::open_waits`] has it; where that is in doubt, until it was last seen.
    pub(crate) fn open_wait(&self, goid: u64, now: Nanos) -> Option<Operation> {
        let id = *self.waiting.get(&goid)?;
        let connection = self.open.get(&id)?;
        connection.so_far(id, Ending::cut(connection.waits_until(now)))
    }

    /// Ends what this goroutine waited for at this time, at the latest: its end was lost.
    pub(crate) fn end_wait_of(&mut self, goid: u64, at: Nanos) -> Option<Operation> {
        let id = *self.waiting.get(&goid)?;
        let connection = self.open.get(&id)?;
        let at = connection
            .sampled_until()
            .unwrap_or_else(|| connection.waits_until(at))
            .min(at);
        self.finish(id, Ending::cut(at)).map(|operation| *operation)
    }

    /// When the waits of [`Self::open_waits`] that have not been reported of began, for which device, and who waits.
    pub(crate) fn unreported_waits(&self) -> impl Iterator<Item = (Nanos, &Device, Actor)> {
        let certain = self.open.values().filter(|c| !c.is_in_doubt());
        let waits = certain.filter_map(|c| c.waiting.as_ref());
        let unreported_waits = waits.filter(|waiting| !waiting.reported);
        unreported_waits.map(|waiting| (waiting.start, &waiting.device, waiting.by))
    }

    /// Whether nobody waits, and all connections that the server uses deliver what is written to them.
    pub(crate) fn are_healthy(&self) -> bool {
        let delivers = |c: &Connection| c.is_open() && !c.ack_stall.is_long();
        let is_healthy = |c: &Connection| c.waiting.is_none() && (c.is_orphaned() || delivers(c));
        self.open.values().all(is_healthy)
    }

    /// What connections still hold is reported anew, but for what the kernel still tries to deliver of connections that the server
    /// has closed. Who waits began to when the programs had just been told to buffer: its end is yet to come.
    pub(crate) fn reset(&mut self) {
        self.open
            .retain(|_, connection| connection.is_orphaned() || connection.waiting.is_some());
    }

    /// What was known by the one address is the other device's.
    pub(crate) fn rename(&mut self, from: &Device, to: &Device) {
        let all = self.open.values_mut();
        all.for_each(|connection| connection.rename(from, to));
    }

    /// This address is the device's, and not the one's that it was taken for. Returns the waits that are: since when, and whose.
    pub(crate) fn correct(&mut self, address: &Device, device: &Device) -> Vec<(Nanos, Actor)> {
        let all = self.open.values_mut();
        let waits = all.filter_map(|connection| connection.correct(address, device));
        let mut waits: Vec<_> = waits.collect();
        waits.sort_by_key(|(start, by)| (*start, by.goid));
        waits
    }

    /// Addresses for whose sockets this goroutine has waited since before the sample was taken, or one that it started: the
    /// sample is of that wait.
    pub(crate) fn waited_for_by(&self, goid: u64, sampled: Nanos) -> Vec<Device> {
        let waits = self.open.values().filter_map(|c| c.waiting.as_ref());
        let is_its = |by: Actor| by.goid == Some(goid) || by.parent == Some(goid);
        let its = waits.filter(|waiting| is_its(waiting.by) && waiting.start <= sampled);
        let addresses = its.filter_map(|waiting| {
            let remote = waiting.remote?.to_string();
            Some(Device::new(waiting.transport, remote))
        });
        addresses.collect()
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept() == 0
    }

    /// How many things are kept.
    pub(crate) fn kept(&self) -> usize {
        self.open.len() + self.waiting.len()
    }

    /// Marks a wait as reported of.
    pub(crate) fn mark_reported(&mut self, socket: SocketId) {
        if let Some(waiting) = self.open.get_mut(&socket).and_then(|c| c.waiting.as_mut()) {
            waiting.reported = true;
        }
    }

    /// Whether this goroutine waits for a socket.
    pub(crate) fn is_waiting(&self, goid: u64) -> bool {
        self.waiting.contains_key(&goid)
    }

    /// For which device it waits, if it does.
    pub(crate) fn device_waited_for(&self, goid: u64) -> Option<&Device> {
        let connection = self.open.get(self.waiting.get(&goid)?)?;
        Some(&connection.waiting.as_ref()?.device)
    }

    /// Takes the stack on which a goroutine was found waiting at that time.
    pub(crate) fn confirm_wait(&mut self, at: Nanos, sample: &GoroutineSample) {
        let socket = self.waiting.get(&sample.goid);
        let connection = socket
            .filter(|_| sample.is_at_a_socket())
            .and_then(|id| self.open.get_mut(id));
        if let Some(waiting) = connection.and_then(|connection| connection.waiting.as_mut()) {
            let id = |entry: Option<&EntryHead>| entry.and_then(|entry| entry.id.clone());
            let (own, sampled) = (id(waiting.entry.as_ref()), id(sample.entry.as_ref()));
            if waiting.missed.is_some() && (own.is_none() || own != sampled) {
                // It may be the goroutine's next wait.
                waiting.missed = Some(0);
                return;
            }
            waiting.seen = waiting.seen.max(at);
            waiting.missed = None;
            waiting.frames.clone_from(&sample.frames);
            waiting.phase = sample.phase();
        }
    }

    /// Events were lost, until then at the latest: what waits may have ended since, and the kernel may have delivered, or given
    /// up, what it was still trying to deliver.
    pub(crate) fn records_lost(&mut self, until: Nanos) {
        self.lost_until = self.lost_until.max(Some(until));
        for connection in self.open.values_mut() {
            connection.ledger.records_lost();
            if let Some(waiting) = &mut connection.waiting {
                waiting.missed = Some(0);
            }
        }
    }

    /// Ends the waits that are in doubt and that looks did not find any more, when they were last seen.
    pub(crate) fn end_missing_waits(&mut self, found: &[GoroutineSample]) -> Vec<Operation> {
        let mut missed: Vec<_> = self.in_doubt().collect();
        if missed.is_empty() {
            return Vec::new();
        }
        let found = found.iter().filter(|parked| parked.is_at_a_socket());
        let found: FxHashSet<_> = found.map(|parked| parked.goid).collect();
        missed.retain(|(goid, _)| !found.contains(goid));
        missed.retain(|(_, id)| self.is_missed(*id));
        missed.sort_unstable();
        let ended = missed.into_iter().filter_map(|(_, id)| self.end_unseen(id));
        ended.map(|operation| *operation).collect()
    }

    /// Whether records were lost since this wait was last confirmed.
    pub(super) fn is_in_doubt(&self, id: SocketId) -> bool {
        let connection = self.open.get(&id);
        connection.is_some_and(Connection::is_in_doubt)
    }

    fn in_doubt(&self) -> impl Iterator<Item = (u64, SocketId)> {
        let waits = self.waiting.iter().map(|(goid, id)| (*goid, *id));
        waits.filter(move |(_, id)| self.is_in_doubt(*id))
    }

    fn is_missed(&mut self, id: SocketId) -> bool {
        let waiting = self.open.get_mut(&id).and_then(|c| c.waiting.as_mut());
        let missed = waiting.and_then(|waiting| waiting.missed.as_mut());
        missed.is_some_and(|missed| {
            *missed += 1;
            *missed >= MISSED
        })
    }

    /// It was given up before this time, and nothing shows when: a Unix socket has no state. The middle is taken, with half of the
    /// gap as uncertainty.
    pub(super) fn end_given_up(&mut self, id: SocketId, by: Nanos) -> Option<Box<Operation>> {
        let seen = self.open.get(&id)?.waiting.as_ref()?.seen;
        let half = by.saturating_sub(seen) / 2;
        let mut operation = self.finish(id, Ending::given_up(seen + half))?;
        operation.uncertainty += half;
        Some(operation)
    }

    /// The server says that it has given up what waits for this socket, unless that is TCP, whose state shows it.
    pub(crate) fn give_up(&mut self, id: SocketId, at: Nanos) -> Option<Box<Operation>> {
        let waiting = self.open.get(&id)?.waiting.as_ref()?;
        if waiting.transport == Transport::Tcp {
            return None;
        }
        if waiting.missed.is_some() {
            return self.end_unseen(id);
        }
        self.finish(id, Ending::given_up(at))
    }

    /// It waits no more, and how that ended was lost. Certain is that it waited until it was last seen to.
    pub(crate) fn end_unseen(&mut self, id: SocketId) -> Option<Box<Operation>> {
        let seen = self.open.get(&id)?.waiting.as_ref()?.seen;
        self.finish(id, Ending::cut(seen))
    }

    /// When the wait that has lasted longest began.
    pub(crate) fn oldest_wait(&self) -> Option<Nanos> {
        let waits = self.open.values().filter_map(|c| c.waiting.as_ref());
        waits.map(|waiting| waiting.start).min()
    }

    /// Devices in which somebody is stalled now.
    pub(crate) fn stalled_devices(&self) -> Vec<Device> {
        let waiting = self.open.values().filter_map(|c| c.waiting.as_ref());
        let mut devices: Vec<_> = waiting.map(|waiting| waiting.device.clone()).collect();
        devices.sort();
        devices.dedup();
        devices
    }

    /// Since when a connection of this device, which the server has not closed, has acknowledged nothing.
    pub(crate) fn unacknowledged_since(&self, device: &Device) -> Option<Nanos> {
        let open = self.open.values().filter(|c| c.is_open());
        let of_device = open.filter(|c| c.device.as_ref() == Some(device));
        of_device.filter_map(|c| c.ack_stall.long_since()).min()
    }

    /// Whether the server has a connection to this device.
    pub(crate) fn is_connected(&self, device: &Device) -> bool {
        let mut to_device = self
            .open
            .values()
            .filter(|c| c.device.as_ref() == Some(device));
        to_device.any(Connection::is_open)
    }

    /// Whether all is known that this device has lost since then: not of datagrams and Unix sockets, not
    /// while the kernel still tries to deliver what the server has closed, and not where records were lost.
    pub(crate) fn knows_losses(&self, device: &Device, since: Nanos) -> bool {
        let mut of_device = self
            .open
            .values()
            .filter(|c| c.device.as_ref() == Some(device));
        let has_tcp = matches!(device.transport, Transport::Tcp | Transport::Http);
        let sees_all = self.lost_until.is_none_or(|until| until < since);
        let tells = self.shows_tcp && has_tcp && sees_all;
        tells && !of_device.any(Connection::is_unsettled)
    }

    /// Local and remote ends of connections that the server has closed and the kernel has not.
    pub(crate) fn closing_connections(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let undelivered = self.open.values().filter(|c| c.gone.is_none());
        undelivered.filter_map(|c| c.ends).collect()
    }

    /// Takes what the send queues hold at the end of the trace.
    pub(crate) fn record_send_queues(&mut self, at: Nanos, queues: &[SendQueue]) {
        for queue in queues {
            let ends = Some((queue.local, queue.remote));
            let mut of_queue = self.open.values_mut().filter(|c| c.ends == ends);
            if let Some(connection) = of_queue.next() {
                connection.ledger.holds(at, queue.bytes);
            }
        }
    }
}
