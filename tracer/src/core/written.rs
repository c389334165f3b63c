//! What audit devices have taken so far, and how full the send buffers of their connections are.
//!
//! A connection counts the bytes itself: the difference between two of its sequence numbers is what was written in
//! between, whether or not each write was told. So what was held back in the kernel is counted too, by whatever comes next.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::event::{Device, Event, Nanos, Socket, SocketId, Tcp, TcpState, Transport, What};

/// Connections beyond which none are remembered: a server has one for each audit device.
const MOST: usize = 1024;

/// How full a send buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendBuffer {
    /// When that was seen.
    pub at: Nanos,
    /// Memory of the send queue, bytes: more than the data in it.
    pub queued: u64,
    /// Limit of that, bytes.
    pub limit: u64,
}

impl SendBuffer {
    fn of(at: Nanos, tcp: &Tcp) -> Option<Self> {
        Some(Self {
            at,
            queued: tcp.queued?.into(),
            limit: tcp.limit?.into(),
        })
    }
}

/// What one device has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Entries that were seen to be written whole.
    pub(super) entries: u64,
    /// Bytes.
    pub(super) bytes: u64,
    /// Whether these are all there were, though not each write was told.
    pub(super) in_sequence: bool,
    /// When its connection was closed, if that is the last that is known of it.
    pub(super) closed: Option<Nanos>,
    /// Of its connection.
    pub(super) buffer: Option<SendBuffer>,
}

#[derive(Clone, Debug)]
struct Open {
    device: Device,
    /// Sequence number behind the last byte that was written.
    end: u32,
}

/// What all have taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    open: FxHashMap<SocketId, Open>,
    devices: FxHashMap<Device, Taken>,
    /// Entries that were counted while routine was held back, of whichever devices.
    together: u64,
}

impl Written {
    /// How many things are kept.
    pub(super) fn kept(&self) -> usize {
        self.open.len() + self.devices.len()
    }

    /// All devices that took something, in order.
    pub(super) fn devices(&self) -> BTreeMap<&Device, &Taken> {
        self.devices.iter().collect()
    }

    /// Entries that are not in the devices' own numbers.
    pub(super) fn together(&self) -> u64 {
        self.together
    }

    /// An entry was written whole.
    pub(super) fn entry(&mut self, device: &Device) {
        self.of(device).entries += 1;
    }

    /// So many were, of whichever devices.
    pub(super) fn entries(&mut self, together: u64) {
        self.together += together;
    }

    /// Takes what happened on a socket.
    pub(super) fn on(&mut self, event: &Event) {
        match &event.what {
            What::Send {
                socket,
                result,
                entry,
                tcp,
                ..
            } if !socket.accepted => {
                let bytes = u64::try_from(*result).unwrap_or(0);
                self.wrote(event.at, socket, (bytes, entry.is_some()), tcp.as_ref());
            }
            What::Logged {
                socket,
                bytes,
                entry,
                tcp,
                ..
            } => self.wrote(event.at, socket, (*bytes, entry.is_some()), tcp.as_ref()),
            What::State {
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
        at: Nanos,
        socket: &Socket,
        (bytes, is_entry): (u64, bool),
        tcp: Option<&Tcp>,
    ) {
        let known = self.open.get_mut(&socket.id);
        if !is_entry && known.is_none() {
            return;
        }
        let Some(tcp) = tcp.filter(|_| socket.transport == Transport::Tcp) else {
            if let Some(device) = Device::of(socket) {
                let taken = self.of(&device);
                taken.bytes = taken.bytes.saturating_add(bytes);
            }
            return;
        };
        let (device, more) = match known {
            Some(open) => {
                let more = tcp.end.wrapping_sub(open.end);
                if more > u32::MAX / 2 {
                    return; // Older than what is known.
                }
                open.end = tcp.end;
                (open.device.clone(), more.into())
            }
            None => match self.opens(socket, tcp) {
                Some(device) => (device, bytes),
                None => return,
            },
        };
        let taken = self.of(&device);
        taken.bytes = taken.bytes.saturating_add(more);
        taken.in_sequence = true;
        taken.closed = None;
        taken.buffer = SendBuffer::of(at, tcp).or(taken.buffer);
    }

    fn opens(&mut self, socket: &Socket, tcp: &Tcp) -> Option<Device> {
        if self.open.len() >= MOST {
            self.open.clear();
        }
        let device = Device::of(socket)?;
        let open = Open {
            device: device.clone(),
            end: tcp.end,
        };
        self.open.insert(socket.id, open);
        Some(device)
    }

    fn closes(&mut self, at: Nanos, device: &Device) {
        if self.open.values().any(|open| open.device == *device) {
            return;
        }
        let taken = self.of(device);
        taken.closed = Some(at);
        taken.buffer = None;
    }

    /// The server has ended, and its connections with it.
    pub(super) fn end(&mut self, at: Nanos) {
        for (_, open) in std::mem::take(&mut self.open) {
            self.closes(at, &open.device);
        }
    }

    fn of(&mut self, device: &Device) -> &mut Taken {
        if !self.devices.contains_key(device) {
            self.devices.insert(device.clone(), Taken::default());
        }
        self.devices.get_mut(device).expect("just inserted")
    }
}
