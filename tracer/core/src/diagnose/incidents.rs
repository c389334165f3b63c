//! Incidents: a device from its first failed or stalled operation to its first success.

use std::collections::BTreeMap;

use tracer_model::{
    Cause, Device, Hang, Incident, LossTotals, LostEntries, Nanos, Op, Operation, Outcome,
    Transport,
};

use self::{
    one::{BlockedTime, MAX_UNMATCHED, incident_from, is_harmless},
    removed::RemovedDevices,
};
use crate::diagnose::{cause::cause_of, successes::Successes, unanswered::UnansweredEntries};

mod one;
mod removed;

/// Between two stalls of one outage that only samples show, ns: a sampling interval, and a handover from one request to the
/// next.
const SAMPLED_GAP: Nanos = 150_000_000;

/// How long a device has to work before its incident is over, ns: one that fails again and again has one incident.
const SETTLE: Nanos = 1_000_000_000;

/// Incidents under way, and those that are over and wait for their last request to be answered.
#[derive(Debug, Default)]
pub(crate) struct Incidents {
    /// Shorter waits are how networks work, ns.
    threshold: Nanos,
    open: BTreeMap<Device, Incident>,
    over: Vec<Incident>,
    /// When the last reported incident of each device ended.
    reported: BTreeMap<Device, Nanos>,
    /// Lost by devices before anybody noticed a failure; the next incident takes it into account.
    unaccounted: BTreeMap<Device, LossTotals>,
    successes: Successes,
    unanswered: UnansweredEntries,
    removed: RemovedDevices,
    /// Hangs of no incident so far. Requests that queued may be answered before the one that was stalled, and where no socket
    /// shows the stall, only that one's end begins the incident.
    unmatched: Vec<BlockedTime>,
}

impl Incidents {
    /// Takes an operation on an audit device that has just ended.
    pub(crate) fn observe(&mut self, operation: &Operation, threshold: Nanos) {
        let taken = self.successes.during(operation);
        self.observe_late(operation, taken, threshold);
    }

    /// Takes one that is known only now that its request is over. `taken`: when the device took an entry after it, if it has.
    pub(crate) fn observe_late(
        &mut self,
        operation: &Operation,
        taken: Option<Nanos>,
        threshold: Nanos,
    ) {
        let device = &operation.device;
        self.threshold = threshold;
        // An HTTP device may still dial on one connection what it has long sent on another.
        let is_of_a_reported_one = device.transport == Transport::Http
            && operation.socket.is_some()
            && self
                .reported
                .get(device)
                .is_some_and(|end| operation.start < *end);
        let is_bad = operation.failed() || operation.duration() >= threshold;
        if is_bad && !is_of_a_reported_one {
            self.begin_or_extend(operation, taken);
        }
        // A stalled write that went well in the end begins an incident and ends it.
        if operation.op == Op::Write && operation.outcome == Some(Outcome::Ok) {
            match device.transport {
                Transport::Http if self.open.contains_key(device) => {
                    if let Some(answered) = self.unanswered.sent(operation) {
                        self.end(device, answered);
                    }
                }
                Transport::Http => {}
                _ => self.entry_taken(operation),
            }
        } else if operation.failed() {
            self.successes.failed(device);
            self.unanswered.forget(device);
        }
        self.match_hangs(device);
    }

    /// One outage is one incident: what overlaps the operation, or is so close to it that the device had not recovered, becomes
    /// one. It is over when the device took an entry (`taken`), unless another failure followed.
    fn begin_or_extend(&mut self, operation: &Operation, taken: Option<Nanos>) {
        let device = &operation.device;
        let mut open = self.open.remove(device);
        let is_open = open.is_some();
        // Of a connection that is gone only the next attempt may show why.
        let shown = Some(cause_of(operation)).filter(|cause| *cause != Cause::Unknown);
        if let (Some(incident), Some(cause)) = (&mut open, shown)
            && incident.cause == Cause::Reset
            && operation.failed()
        {
            incident.cause = cause;
        }
        let near: Vec<_> = self.take_near(operation);
        let over = near.iter().filter_map(|incident| incident.end).max();
        let parts = open.into_iter().chain(near);
        let mut incident = parts.fold(incident_from(operation), |one, mut known| {
            known.absorb(&one);
            known
        });
        let unaccounted = self.unaccounted.remove(device);
        let lost = incident.lost.get_or_insert_default();
        lost.add(unaccounted.unwrap_or_default());
        let had_recovered =
            |over: &Nanos| operation.end <= *over || (taken.is_some() && operation.start < *over);
        let ended = over.filter(had_recovered).or(taken).filter(|_| !is_open);
        incident.end = ended.or_else(|| self.removed.end(device, operation.end));
        match incident.end {
            Some(_) => self.over.push(incident),
            None => {
                self.open.insert(device.clone(), incident);
            }
        }
    }

    /// Incidents of the operation's device that are over, and to which it belongs.
    fn take_near(&mut self, operation: &Operation) -> Vec<Incident> {
        let threshold = self.threshold;
        let is_near = |other: &mut Incident| {
            let gap = match operation.socket {
                _ if !is_harmless(other, threshold) => SETTLE,
                Some(_) => 0,
                None => SAMPLED_GAP,
            };
            let goes_on = |over: Nanos| operation.start <= over.saturating_add(gap);
            let is_before = other.start <= operation.end.saturating_add(gap);
            other.device == operation.device && is_before && other.end.is_some_and(goes_on)
        };
        self.over.extract_if(.., is_near).collect()
    }

    /// Gives the hangs of this device that no incident has taken to the one that has begun or grown.
    fn match_hangs(&mut self, device: &Device) {
        if self.unmatched.is_empty() {
            return;
        }
        let its = self.unmatched.extract_if(.., |hang| hang.device == *device);
        for hang in its.collect::<Vec<_>>() {
            self.add_blocked_time(hang);
        }
    }

    /// Whether all that are over have been reported.
    pub(crate) fn are_reported(&self) -> bool {
        self.over.is_empty()
    }

    /// Whether none is under way or waits to be reported.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.over.is_empty()
    }

    /// The incident of this device that is under way.
    pub(crate) fn open_of(&self, device: &Device) -> Option<&Incident> {
        self.open.get(device)
    }

    /// How many things are kept.
    pub(crate) fn kept(&self) -> usize {
        let by_device = self.reported.len() + self.unaccounted.len();
        let by_device =
            by_device + self.successes.kept() + self.unanswered.kept() + self.removed.kept();
        self.open.len() + self.over.len() + self.unmatched.len() + by_device
    }

    /// What was known by the one address is the other device's.
    pub(crate) fn rename(&mut self, from: &Device, to: &Device) {
        let hangs = self.unmatched.iter_mut().map(|hang| &mut hang.device);
        let over = self.over.iter_mut().map(|incident| &mut incident.device);
        for device in hangs.chain(over).filter(|device| **device == *from) {
            device.clone_from(to);
        }
        self.successes.rename(from, to);
        self.unanswered.rename(from, to);
        if let Some(mut incident) = self.open.remove(from) {
            incident.device.clone_from(to);
            match self.open.get_mut(to) {
                Some(known) => known.absorb(&incident),
                None => drop(self.open.insert(to.clone(), incident)),
            }
        }
        if let Some(losses) = self.unaccounted.remove(from) {
            self.unaccounted.entry(to.clone()).or_default().add(losses);
        }
        if let Some(end) = self.reported.remove(from) {
            let known = self.reported.entry(to.clone()).or_insert(end);
            *known = end.max(*known);
        }
    }

    fn entry_taken(&mut self, operation: &Operation) {
        let (device, at) = (&operation.device, operation.end);
        self.successes.observe(operation);
        let known = |incident: &Incident| incident.cause != Cause::Unknown;
        // What this host itself did not send, for its size, says nothing of the device.
        let is_of_the_network = self.open.get(device).is_some_and(known);
        let is_too_large = |incident: &Incident| incident.cause == Cause::TooLarge;
        // A smaller entry is taken, and the next large one is not.
        let comes_again = self.open.get(device).is_some_and(is_too_large);
        let is_unconfirmed = device.transport == Transport::Udp && is_of_the_network;
        if !is_unconfirmed && !comes_again {
            return self.end(device, at);
        }
        if let Some(since) = self.successes.sent(device, at) {
            self.end(device, since);
        }
    }

    fn end(&mut self, device: &Device, at: Nanos) {
        self.unanswered.forget(device);
        if let Some(mut incident) = self.open.remove(device) {
            incident.end = Some(at.max(incident.start));
            self.over.push(incident);
        }
    }

    /// Adds a hang to the incident in which it began.
    pub(crate) fn add_hang(&mut self, hang: &Hang) {
        self.add_blocked_time(BlockedTime {
            device: hang.device.clone(),
            start: hang.start,
            end: hang.end,
            duration: hang.duration,
        });
    }

    fn add_blocked_time(&mut self, hang: BlockedTime) {
        if let Some(incident) = self.overlapping(&hang.device, (hang.start, hang.end)) {
            incident.hangs += 1;
            incident.requests += 1;
            incident.blocked += hang.duration;
            incident.longest = incident.longest.max(hang.duration);
        } else if self.unmatched.len() < MAX_UNMATCHED {
            self.unmatched.push(hang);
        }
    }

    /// Adds a request that met a device which failed at once. Returns how many of the incident came before.
    pub(crate) fn add_refusal(&mut self, device: &Device, at: Nanos) -> u64 {
        let Some(incident) = self.overlapping(device, (at, at)) else {
            return 0;
        };
        incident.requests += 1;
        incident.refusals += 1;
        incident.refusals - 1
    }

    /// The device took an entry.
    pub(crate) fn works_again(&mut self, device: &Device, at: Nanos) {
        self.end(device, at);
    }

    /// The device is no audit device any more. One that fails was disabled for that.
    pub(crate) fn removed(&mut self, device: &Device, at: Nanos) {
        if let Some(incident) = self.open.get(device) {
            let at = at.max(incident.start);
            self.removed.add(device, at);
            self.end(device, at);
        }
    }

    /// These are audit devices now.
    pub(crate) fn configured<'a>(&mut self, devices: impl Iterator<Item = &'a Device>) {
        devices.for_each(|device| self.removed.is_back(device));
    }

    /// The devices of incidents that are under way.
    pub(crate) fn failing(&self) -> impl Iterator<Item = &Device> {
        self.open.keys()
    }

    /// Adds lost entries. A RST that loses them comes before the first operation that fails by it.
    pub(crate) fn add_lost_entries(&mut self, loss: &LostEntries) {
        let more = LossTotals {
            bytes: loss.bytes,
            entries: loss.entries,
        };
        let is_of_a_reported_one = |end: &Nanos| loss.closed <= *end;
        if self
            .reported
            .get(&loss.device)
            .is_some_and(is_of_a_reported_one)
        {
            return;
        }
        let mut unreported = self.unreported(&loss.device);
        let its = unreported.find(|i| i.end.is_none_or(|end| loss.closed <= end));
        if let Some(incident) = its {
            return incident.lost.get_or_insert_default().add(more);
        }
        drop(unreported);
        let unaccounted = self.unaccounted.entry(loss.device.clone());
        unaccounted.or_default().add(more);
    }

    /// Adds an entry that the device did not take: it was last seen to be tried (`tried`), or in the queue, at `until`.
    /// `id`: of its request.
    pub(crate) fn add_untaken_entry(
        &mut self,
        device: &Device,
        (since, until): (Nanos, Nanos),
        tried: bool,
        id: Option<&str>,
    ) {
        let Some(incident) = self.of_entry(device, (since, until)) else {
            return;
        };
        let untaken = &mut incident.untaken;
        if tried {
            *untaken.failed.get_or_insert_default() += 1;
        } else {
            *untaken.missed.get_or_insert_default() += 1;
            untaken.add_request(id);
        }
    }

    /// The incident in which a device did not take an entry that was first and last seen at these times.
    fn of_entry(
        &mut self,
        device: &Device,
        (since, until): (Nanos, Nanos),
    ) -> Option<&mut Incident> {
        let covers = |i: &Incident, at| i.end.is_none_or(|end| at <= end);
        let over = self.over.iter_mut().filter(|i| i.device == *device);
        let mut unreported: Vec<_> = over.chain(self.open.get_mut(device)).collect();
        let found = unreported.iter().position(|i| covers(i, until));
        // The device worked again, and entries that had queued for it meanwhile were dropped when their turn came.
        let found = found.or_else(|| unreported.iter().rposition(|i| covers(i, since)));
        found.map(|found| unreported.swap_remove(found))
    }

    /// There may be more entries at that time that the device did not take than were counted.
    pub(crate) fn count_at_least(&mut self, device: &Device, when: (Nanos, Nanos)) {
        if let Some(incident) = self.of_entry(device, when) {
            incident.untaken.at_least = true;
        }
    }

    /// Of one device, in order.
    fn unreported<'a>(&'a mut self, device: &'a Device) -> impl Iterator<Item = &'a mut Incident> {
        let over = self.over.iter_mut().filter(move |i| i.device == *device);
        over.chain(self.open.get_mut(device))
    }

    /// The first incident that this was a part of: a short wait may come before what begins the incident.
    fn overlapping<'a>(
        &'a mut self,
        device: &'a Device,
        (start, end): (Nanos, Nanos),
    ) -> Option<&'a mut Incident> {
        self.unreported(device)
            .find(|i| i.start <= end && i.end.is_none_or(|over| start <= over))
    }

    /// Incidents that are over for good and whose device no request that is under way has used then (`is_in_use`): all their
    /// hangs are known. Those that harmed nobody are forgotten.
    pub(crate) fn take_settled(
        &mut self,
        now: Nanos,
        is_in_use: impl Fn(&Device, (Nanos, Nanos)) -> bool,
    ) -> Vec<Incident> {
        self.unmatched
            .retain(|hang| is_in_use(&hang.device, (hang.start, hang.end)));
        let is_settled = |incident: &mut Incident| {
            let works = incident.end.unwrap_or(Nanos::MAX).saturating_add(SETTLE);
            let time = (incident.start.saturating_sub(SETTLE), works);
            let is_over = now >= works || is_harmless(incident, self.threshold);
            is_over && !is_in_use(&incident.device, time)
        };
        let mut settled: Vec<_> = self.over.extract_if(.., is_settled).collect();
        settled.retain(|incident| !is_harmless(incident, self.threshold));
        let ended = settled.iter();
        let ended = ended.filter_map(|i| Some((i.device.clone(), i.end?)));
        self.reported.extend(ended);
        let settled = settled.into_iter();
        settled.map(|i| self.removed.reported(i)).collect()
    }

    /// All there are, when the trace or the server ends.
    pub(crate) fn take_all(&mut self) -> Vec<Incident> {
        self.unmatched.clear();
        let mut all = std::mem::take(&mut self.over);
        all.retain(|incident| !is_harmless(incident, self.threshold));
        all.extend(std::mem::take(&mut self.open).into_values());
        all
    }
}

#[cfg(test)]
mod tests;
