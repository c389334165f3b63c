//! When devices took entries, as far as that shows until when they failed.

use std::collections::BTreeMap;

use tracer_model::{Device, Nanos, Op, Operation, Outcome, Transport};

/// A datagram that was sent shows nothing; that no ICMP error came back for several does. Longer than a round trip and the
/// second that hosts leave between two ICMP errors (`net.ipv4.icmp_ratelimit`), ns.
const UDP_CONFIRMED: Nanos = 2_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Successes {
    /// Since when every datagram to the device was sent.
    sending: BTreeMap<Device, Nanos>,
    /// When a TCP device last took an entry.
    taken: BTreeMap<Device, Nanos>,
}

/// Whether the operation shows by itself that its device took an entry: HTTP servers are to answer, and datagrams may be lost.
pub(crate) fn is_taken(operation: &Operation) -> bool {
    operation.op == Op::Write
        && operation.outcome == Some(Outcome::Ok)
        && operation.device.transport == Transport::Tcp
}

impl Successes {
    pub(super) fn kept(&self) -> usize {
        self.sending.len() + self.taken.len()
    }

    /// Takes a write that went well.
    pub(super) fn observe(&mut self, operation: &Operation) {
        if !is_taken(operation) {
            return;
        }
        if let Some(last) = self.taken.get_mut(&operation.device) {
            *last = operation.end.max(*last);
        } else {
            let device = operation.device.clone();
            self.taken.insert(device, operation.end);
        }
    }

    /// When the device took an entry while this dial went on: of those to several addresses of it, which race, another one won.
    pub(super) fn during(&self, operation: &Operation) -> Option<Nanos> {
        let is_dial = operation.op == Op::Connect && operation.outcome != Some(Outcome::Ok);
        let taken = self.taken.get(&operation.device).filter(|_| is_dial);
        let meanwhile = |at: &Nanos| operation.start < *at && *at <= operation.end;
        taken.copied().filter(meanwhile)
    }

    /// A datagram was sent to the device. Returns since when all were, if no error has come back for long enough.
    pub(super) fn sent(&mut self, device: &Device, at: Nanos) -> Option<Nanos> {
        let since = *self.sending.entry(device.clone()).or_insert(at);
        (at.saturating_sub(since) >= UDP_CONFIRMED).then_some(since)
    }

    /// An operation on the device failed.
    pub(super) fn failed(&mut self, device: &Device) {
        self.sending.remove(device);
    }

    /// What was known by the one address is the other device's.
    pub(super) fn rename(&mut self, from: &Device, to: &Device) {
        if let Some(at) = self.sending.remove(from) {
            self.sending.entry(to.clone()).or_insert(at);
        }
        if let Some(at) = self.taken.remove(from) {
            let known = self.taken.entry(to.clone()).or_insert(at);
            *known = at.max(*known);
        }
    }
}
