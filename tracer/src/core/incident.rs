//! Incidents: a device from its first failed or stalled operation to its first success.

use std::collections::BTreeMap;

use super::{
    cause::Cause,
    finding::{Hang, Incident, Lost},
    ledger::Loss,
    operation::{Op, Operation, Outcome},
};
use crate::event::{Device, Nanos};

/// Incidents under way, and those that wait for their last request to be answered.
#[derive(Debug, Default)]
pub struct Incidents {
    open: BTreeMap<Device, Incident>,
    over: Vec<Incident>,
}

impl Incidents {
    /// Takes an operation on an audit device.
    pub fn did(&mut self, operation: &Operation, threshold: Nanos) {
        let device = &operation.device;
        if operation.failed() || operation.duration() >= threshold {
            self.open
                .entry(device.clone())
                .or_insert_with(|| Incident::new(operation));
        }
        // A stalled write that went well in the end begins an incident and ends it.
        if operation.op == Op::Write && operation.outcome == Some(Outcome::Ok) {
            self.ends(device, operation.end);
        }
    }

    fn ends(&mut self, device: &Device, at: Nanos) {
        if let Some(mut incident) = self.open.remove(device) {
            incident.end = Some(at);
            self.over.push(incident);
        }
    }

    /// Takes a hang into the account of the incident it began in.
    pub fn hung(&mut self, hang: &Hang) {
        if let Some(incident) = self.at(&hang.device, hang.start) {
            incident.hangs += 1;
            incident.requests += 1;
            incident.blocked += hang.duration;
            incident.longest = incident.longest.max(hang.duration);
        }
    }

    /// Takes a request that met a device which failed fast.
    pub fn refused(&mut self, device: &Device, at: Nanos) {
        if let Some(incident) = self.at(device, at) {
            incident.requests += 1;
        }
    }

    /// Takes lost entries.
    pub fn lost(&mut self, loss: &Loss) {
        if let Some(incident) = self.at(&loss.device, loss.closed) {
            let total = incident.lost.get_or_insert_default();
            total.bytes += loss.bytes;
            total.entries += loss.entries;
        }
    }

    fn at(&mut self, device: &Device, at: Nanos) -> Option<&mut Incident> {
        let over = self.over.iter_mut().filter(|i| i.device == *device);
        let mut all = over.chain(self.open.get_mut(device));
        all.find(|i| i.start <= at && i.end.is_none_or(|end| at <= end))
    }

    /// Incidents that are over and of which `is_in_use` says that no request is under way which used
    /// the device: all their hangs are known.
    pub fn settle(&mut self, is_in_use: impl Fn(&Device) -> bool) -> Vec<Incident> {
        self.over
            .extract_if(.., |i| !is_in_use(&i.device))
            .collect()
    }

    /// Ends the trace: all there are.
    pub fn end(&mut self) -> Vec<Incident> {
        let mut all = std::mem::take(&mut self.over);
        all.extend(std::mem::take(&mut self.open).into_values());
        all
    }
}

impl Incident {
    fn new(operation: &Operation) -> Self {
        Self {
            device: operation.device.clone(),
            start: operation.start,
            end: None,
            cause: Cause::of(operation),
            hangs: 0,
            requests: 0,
            blocked: 0,
            longest: 0,
            lost: Some(Lost::default()),
        }
    }
}
