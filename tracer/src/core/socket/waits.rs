//! What is asked of the sockets: who waits for which, since when, and what they still hold.

use std::net::SocketAddr;

use super::{End, Sockets, connection::Connection};
use crate::{
    core::{operation::Operation, parked::Parked},
    event::{Device, Nanos, SendQueue, SocketId, Transport},
};

impl Sockets {
    /// What waits now, as operations without an outcome, eldest first; and whether it has been told of.
    pub fn open_waits(&self, now: Nanos) -> Vec<(Operation, bool)> {
        let end = End {
            at: now,
            outcome: None,
            errno: None,
            tcp: None,
        };
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

    /// When the waits that have not been told of began, and for which device.
    pub fn untold(&self) -> impl Iterator<Item = (Nanos, &Device)> {
        let waits = self.open.values().filter_map(|c| c.waiting.as_ref());
        let untold = waits.filter(|waiting| !waiting.told);
        untold.map(|waiting| (waiting.start, &waiting.device))
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

    /// Takes the stack on which a goroutine was found waiting.
    pub fn found(&mut self, parked: &Parked) {
        let connection = self
            .waiting
            .get(&parked.goid)
            .and_then(|id| self.open.get_mut(id));
        if let Some(waiting) = connection.and_then(|connection| connection.waiting.as_mut()) {
            waiting.frames.clone_from(&parked.frames);
            waiting.phase = parked.phase();
        }
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
