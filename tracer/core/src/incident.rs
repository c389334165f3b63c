//! Incidents: a device from its first failed or stalled operation to its first success.

use crate::cause::cause_of;
use std::collections::BTreeMap;

use tracer_model::{Cause, Hang, Incident, LossTotals, LostEntries, Op, Operation, Outcome};
use tracer_model::{Device, Nanos, Transport};

/// A datagram that was sent shows nothing; that none of several came back does. Longer than a round
/// trip and the second that hosts leave between two ICMP errors (`net.ipv4.icmp_ratelimit`), ns.
const ANSWERED: Nanos = 2_000_000_000;

/// Incidents under way, and those that wait for their last request to be answered.
#[derive(Debug, Default)]
pub struct Incidents {
    open: BTreeMap<Device, Incident>,
    over: Vec<Incident>,
    /// When the last one told of each device had ended.
    told: BTreeMap<Device, Nanos>,
    /// Lost by devices that nobody had noticed to fail: what fails next has failed by then.
    unnoticed: BTreeMap<Device, LossTotals>,
    /// Since when every datagram to the device was sent.
    sending: BTreeMap<Device, Nanos>,
}

impl Incidents {
    /// Takes an operation on an audit device.
    pub fn did(&mut self, operation: &Operation, threshold: Nanos) {
        let device = &operation.device;
        if operation.failed() || operation.duration() >= threshold {
            let unnoticed = self.unnoticed.remove(device);
            let incident = self.open.entry(device.clone());
            let incident = incident.or_insert_with(|| incident_from(operation));
            add_loss(incident, unnoticed.unwrap_or_default());
        }
        // A stalled write that went well in the end begins an incident and ends it.
        if operation.op == Op::Write && operation.outcome == Some(Outcome::Ok) {
            self.worked(device, operation.end);
        } else if operation.failed() {
            self.sending.remove(device);
        }
    }

    /// Whether all that are over have been told.
    pub fn are_told(&self) -> bool {
        self.over.is_empty()
    }

    /// Whether there are none under way, nor any to be told.
    pub fn are_over(&self) -> bool {
        self.open.is_empty() && self.over.is_empty()
    }

    /// That of this device, if there is one under way.
    pub fn under_way(&self, device: &Device) -> Option<&Incident> {
        self.open.get(device)
    }

    /// How many things are kept.
    pub fn kept(&self) -> usize {
        let by_device = self.told.len() + self.unnoticed.len() + self.sending.len();
        self.open.len() + self.over.len() + by_device
    }

    fn worked(&mut self, device: &Device, at: Nanos) {
        let known = |incident: &Incident| incident.cause != Cause::Unknown;
        // What this host itself did not send, for its size, says nothing of the device.
        let is_of_the_network = self.open.get(device).is_some_and(known);
        if device.transport != Transport::Udp || !is_of_the_network {
            return self.ends(device, at);
        }
        let since = *self.sending.entry(device.clone()).or_insert(at);
        if at.saturating_sub(since) >= ANSWERED {
            self.ends(device, since);
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
        if let Some(incident) = self.within(&hang.device, (hang.start, hang.end)) {
            incident.hangs += 1;
            incident.requests += 1;
            incident.blocked += hang.duration;
            incident.longest = incident.longest.max(hang.duration);
        }
    }

    /// Takes a request that met a device which failed fast.
    pub fn refused(&mut self, device: &Device, at: Nanos) {
        if let Some(incident) = self.within(device, (at, at)) {
            incident.requests += 1;
        }
    }

    /// Takes lost entries. A RST over them comes before the first operation that fails by it.
    pub fn lost(&mut self, loss: &LostEntries) {
        let more = LossTotals {
            bytes: loss.bytes,
            entries: loss.entries,
        };
        let is_of_one_told = |told: &Nanos| loss.closed <= *told;
        if self.told.get(&loss.device).is_some_and(is_of_one_told) {
            return;
        }
        let mut not_over = self.all(&loss.device);
        let its = not_over.find(|i| i.end.is_none_or(|end| loss.closed <= end));
        if let Some(incident) = its {
            return add_loss(incident, more);
        }
        drop(not_over);
        let unnoticed = self.unnoticed.entry(loss.device.clone());
        unnoticed.or_default().add(more);
    }

    /// Of one device, in order.
    fn all<'a>(&'a mut self, device: &'a Device) -> impl Iterator<Item = &'a mut Incident> {
        let over = self.over.iter_mut().filter(move |i| i.device == *device);
        over.chain(self.open.get_mut(device))
    }

    /// The first that it was a part of: a short wait may come before what begins the incident.
    fn within<'a>(
        &'a mut self,
        device: &'a Device,
        (start, end): (Nanos, Nanos),
    ) -> Option<&'a mut Incident> {
        self.all(device)
            .find(|i| i.start <= end && i.end.is_none_or(|over| start <= over))
    }

    /// Incidents that are over and of which `is_in_use` says that no request is under way which used
    /// the device: all their hangs are known.
    pub fn settle(&mut self, is_in_use: impl Fn(&Device) -> bool) -> Vec<Incident> {
        let settled = self.over.extract_if(.., |i| !is_in_use(&i.device));
        let settled: Vec<_> = settled.collect();
        for incident in &settled {
            if let Some(end) = incident.end {
                self.told.insert(incident.device.clone(), end);
            }
        }
        settled
    }

    /// Ends the trace: all there are.
    pub fn end(&mut self) -> Vec<Incident> {
        let mut all = std::mem::take(&mut self.over);
        all.extend(std::mem::take(&mut self.open).into_values());
        all
    }
}

fn incident_from(operation: &Operation) -> Incident {
    Incident {
        device: operation.device.clone(),
        start: operation.start,
        end: None,
        cause: cause_of(operation),
        hangs: 0,
        requests: 0,
        blocked: 0,
        longest: 0,
        lost: Some(LossTotals::default()),
    }
}

fn add_loss(incident: &mut Incident, more: LossTotals) {
    incident.lost.get_or_insert_default().add(more);
}
