//! Entries that went out to HTTP servers whose devices fail, and that no answer has been seen to.
//!
//! A client sends nothing more on a connection before it has read the answer to what it sent there (`net/http`, `Transport`). So a
//! further entry on the same connection shows that the one before was answered; that it went out shows nothing.

use tracer_model::{Device, Nanos, Operation, SocketId};

/// Connections that are kept.
const MOST: usize = 64;

/// By device and connection: when the last entry went out.
#[derive(Debug, Default)]
pub(super) struct UnansweredEntries(Vec<(Device, SocketId, Nanos)>);

impl UnansweredEntries {
    pub(super) fn kept(&self) -> usize {
        self.0.len()
    }

    /// An entry went out. Returns when the one before did that was answered, if one was.
    pub(super) fn sent(&mut self, operation: &Operation) -> Option<Nanos> {
        let device = &operation.device;
        let socket = operation.socket.filter(|_| operation.entry.is_some())?;
        let is_its = |(of, on, _): &&(Device, SocketId, Nanos)| of == device && *on == socket;
        if let Some((.., before)) = self.0.iter().find(is_its) {
            return Some(*before);
        }
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push((device.clone(), socket, operation.end));
        None
    }

    /// What went out to this device was not taken, or it does not matter any more.
    pub(super) fn forget(&mut self, device: &Device) {
        self.0.retain(|(of, ..)| of != device);
    }

    /// What was known by the one address is the other device's.
    pub(super) fn rename(&mut self, from: &Device, to: &Device) {
        let devices = self.0.iter_mut().map(|(device, ..)| device);
        devices
            .filter(|device| **device == *from)
            .for_each(|device| device.clone_from(to));
    }
}
