//! What audit devices have taken so far, and how full the send buffers of their connections are.
//!
//! A connection counts the bytes itself: the difference between two of its sequence numbers is what was written in
//! between, whether or not each write was told. So what was held back in the kernel is counted too, by whatever comes next.

use std::collections::BTreeMap;
use tracer_model::SendBuffer;

use rustc_hash::FxHashMap;

use crate::track::identities::Identities;
use tracer_model::{Device, Event, EventKind, Nanos, Socket, SocketId, Tcp, TcpState, Transport};

/// Connections beyond which none are remembered: a server has one for each audit device.
const MOST: usize = 1024;

fn send_buffer(at: Nanos, tcp: &Tcp) -> Option<SendBuffer> {
    Some(SendBuffer {
        at,
        queued: tcp.queued?.into(),
        limit: tcp.limit?.into(),
    })
}

/// What one device has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceThroughput {
    /// Entries that were seen to be written whole.
    pub(crate) entries: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Whether these are all there were, though not each write was told.
    pub(crate) in_sequence: bool,
    /// When its connection was closed, if that is the last that is known of it.
    pub(crate) closed: Option<Nanos>,
    /// Of its connection.
    pub(crate) buffer: Option<SendBuffer>,
}

#[derive(Clone, Debug)]
struct Open {
    device: Device,
    /// Sequence number behind the last byte that was written.
    end: u32,
}

/// What all have taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throughput {
    open: FxHashMap<SocketId, Open>,
    devices: FxHashMap<Device, DeviceThroughput>,
    /// Entries that were counted while buffering, of all devices together.
    together: u64,
}

impl Throughput {
    /// How many things are kept.
    pub(crate) fn kept(&self) -> usize {
        self.open.len() + self.devices.len()
    }

    /// All devices that took something, in order.
    pub(crate) fn devices(&self) -> BTreeMap<&Device, &DeviceThroughput> {
        self.devices.iter().collect()
    }

    /// Entries that are not in the devices' own numbers.
    pub(crate) fn together(&self) -> u64 {
        self.together
    }

    /// An entry was written whole.
    pub(crate) fn entry(&mut self, device: &Device) {
        self.of(device).entries += 1;
    }

    /// So many were, of whichever devices.
    pub(crate) fn entries(&mut self, together: u64) {
        self.together = self.together.saturating_add(together);
    }

    /// Takes what happened on a socket.
    pub(crate) fn observe(&mut self, event: &Event, identities: &Identities) {
        match &event.what {
            EventKind::Send {
                socket,
                result,
                entry,
                tcp,
                ..
            } if !socket.accepted => {
                let bytes = u64::try_from(*result).unwrap_or(0);
                let device = || identities.of(socket);
                self.wrote(
                    (event.at, socket),
                    device,
                    (bytes, entry.is_some()),
                    tcp.as_ref(),
                );
            }
            EventKind::BufferedWrite {
                socket,
                bytes,
                entry,
                tcp,
                ..
            } => {
                let device = || identities.of(socket);
                self.wrote(
                    (event.at, socket),
                    device,
                    (*bytes, entry.is_some()),
                    tcp.as_ref(),
                );
            }
            EventKind::State {
                socket,
                new: TcpState::FinWait1 | TcpState::LastAck | TcpState::Close,
                ..
            } => {
                if let Some(open) = self.open.remove(&socket.id) {
                    self.closes(event.at, &open.device);
                }
            }
            _ => {}
        }
    }

    fn wrote(
        &mut self,
        (at, socket): (Nanos, &Socket),
        device: impl Fn() -> Option<Device>,
        (bytes, is_entry): (u64, bool),
        tcp: Option<&Tcp>,
    ) {
        let known = self.open.get(&socket.id).map(|open| open.end);
        if !is_entry && known.is_none() {
            return;
        }
        let Some(tcp) = tcp.filter(|_| socket.transport == Transport::Tcp) else {
            if let Some(device) = device() {
                let taken = self.of(&device);
                taken.bytes = taken.bytes.saturating_add(bytes);
            }
            return;
        };
        let more = match known {
            Some(end) => u64::from(tcp.end.wrapping_sub(end)),
            None if self.opens(socket.id, device(), tcp) => bytes,
            None => return,
        };
        let is_older = known.is_some() && more > u64::from(u32::MAX / 2);
        let Some(open) = self.open.get_mut(&socket.id).filter(|_| !is_older) else {
            return;
        };
        open.end = tcp.end;
        let Some(taken) = self.devices.get_mut(&open.device) else {
            return;
        };
        taken.bytes = taken.bytes.saturating_add(more);
        taken.in_sequence = true;
        taken.closed = None;
        taken.buffer = send_buffer(at, tcp).or(taken.buffer);
    }

    /// Whether it leads anywhere.
    fn opens(&mut self, id: SocketId, device: Option<Device>, tcp: &Tcp) -> bool {
        if self.open.len() >= MOST {
            self.open.clear();
        }
        let Some(device) = device else {
            return false;
        };
        self.of(&device);
        let end = tcp.end;
        self.open.insert(id, Open { device, end });
        true
    }

    fn closes(&mut self, at: Nanos, device: &Device) {
        if self.open.values().any(|open| open.device == *device) {
            return;
        }
        let taken = self.of(device);
        taken.closed = Some(at);
        taken.buffer = None;
    }

    /// What was known by the one address is the other device's.
    pub(crate) fn rename(&mut self, from: &Device, to: &Device) {
        let its = self.open.values_mut().filter(|open| open.device == *from);
        its.for_each(|open| open.device = to.clone());
        if let Some(taken) = self.devices.remove(from) {
            let sum = self.of(to);
            sum.entries += taken.entries;
            sum.bytes = sum.bytes.saturating_add(taken.bytes);
            sum.in_sequence |= taken.in_sequence;
            sum.closed = taken.closed;
            sum.buffer = taken.buffer.or(sum.buffer);
        }
    }

    /// Connections that were taken for the device's may be another's: the next entry on each says whose it is.
    pub(crate) fn ask_again(&mut self, device: &Device) {
        self.open.retain(|_, open| open.device != *device);
    }

    /// The device is no longer configured.
    pub(crate) fn forget(&mut self, device: &Device) {
        if !self.open.values().any(|open| open.device == *device) {
            self.devices.remove(device);
        }
    }

    /// The server has ended, and its connections with it.
    pub(crate) fn end(&mut self, at: Nanos) {
        for (_, open) in std::mem::take(&mut self.open) {
            self.closes(at, &open.device);
        }
    }

    fn of(&mut self, device: &Device) -> &mut DeviceThroughput {
        if !self.devices.contains_key(device) {
            self.devices
                .insert(device.clone(), DeviceThroughput::default());
        }
        self.devices.get_mut(device).expect("just inserted")
    }
}
