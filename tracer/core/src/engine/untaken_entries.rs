//! Entries that devices did not take, until the incident is over in which that was.
//!
//! Since Vault 1.15 a goroutine of its own has each entry for each device: it may still write the entry after the request was
//! answered, or drop it when the broker's context has ended in the queue. The first shows in what it does later, the second in
//! that a sample no longer finds it.

use rustc_hash::FxHashSet;
use tracer_model::{Device, Nanos, Op, Operation, Outcome, RequestSeq};

use crate::{
    diagnose::{
        incidents::Incidents,
        untaken::{Untaken, untaken},
    },
    engine::request_names::RequestNames,
    request::request::Request,
};

/// Entries remembered at once of which it is not known yet what becomes of them. Further ones are not counted.
const MAX_OPEN: usize = 1 << 12;

/// An entry in the queue of a device that works again is written, or dropped, within this time, ns.
const DRAINED: Nanos = 1_000_000_000;

/// An entry that was not taken when its request was over.
#[derive(Debug)]
struct OpenEntry {
    device: Device,
    request: RequestSeq,
    /// When its request was over.
    at: Nanos,
    /// When it was first and last seen to be tried or queued.
    since: Nanos,
    until: Nanos,
    /// The goroutine that may still write it.
    sink: Option<u64>,
    tried: bool,
    /// Nobody has it any more.
    is_dropped: bool,
}

#[derive(Debug, Default)]
pub(super) struct UntakenEntryList {
    open: Vec<OpenEntry>,
    /// When the last sample was taken, and which goroutines it found in the code of devices.
    sampled: (Nanos, FxHashSet<u64>),
    /// Records were lost before this time: that an entry was written may be among them.
    lost_until: Nanos,
}

impl UntakenEntryList {
    pub(super) fn kept(&self) -> usize {
        self.open.len()
    }

    /// Adds the entries of a request that is over, which this device did not take.
    /// `is_alone`: the server has no other device.
    pub(super) fn add(
        &mut self,
        request: &Request,
        (device, is_alone): (&Device, bool),
        incidents: &mut Incidents,
    ) {
        // Of a request that failed, nobody has the entry: that it queued here is not what is missing. Without a status the request
        // has failed where no other device can have taken it.
        let has_failed = request.status.map_or(is_alone, |status| status >= 500);
        for Untaken {
            tried,
            failed,
            by,
            since,
            until,
            ..
        } in untaken(&request.operations, device)
        {
            // What a device without a socket takes in the end is not seen, but what the server says of it.
            let is_known = device.transport.is_socket() || failed;
            if self.open.len() >= MAX_OPEN || !is_known || (!tried && has_failed) {
                continue;
            }
            if since <= self.lost_until {
                incidents.count_at_least(device, (since, until));
                continue;
            }
            let sink = by.filter(|by| Some(*by) != request.goid);
            let (sampled, found) = &self.sampled;
            let is_gone = |sink| *sampled > until && !found.contains(&sink);
            self.open.push(OpenEntry {
                device: device.clone(),
                request: request.seq,
                at: request.end,
                since,
                until,
                sink,
                tried,
                is_dropped: sink.is_none_or(is_gone),
            });
        }
    }

    /// Drops an entry that its goroutine writes after its request is over.
    pub(super) fn observe(&mut self, operation: &Operation) {
        let Some(goid) = operation.by.goid.filter(|_| !self.open.is_empty()) else {
            return;
        };
        let is_taken = operation.op == Op::Write && operation.outcome == Some(Outcome::Ok);
        self.open.retain_mut(|entry| {
            let is_its = entry.sink == Some(goid) && entry.device == operation.device;
            entry.tried |= is_its && operation.op != Op::Lock;
            !(is_its && is_taken)
        });
    }

    /// Notes which entries no goroutine has any more: a sample found these in the code of devices.
    pub(super) fn sampled(&mut self, at: Nanos, goids: FxHashSet<u64>) {
        for entry in self.open.iter_mut().filter(|entry| entry.at < at) {
            let sink = entry.sink;
            entry.is_dropped |= sink.is_some_and(|sink| !goids.contains(&sink));
        }
        self.sampled = (at, goids);
    }

    /// Records were lost, up to this time: of no entry is it known any more whether it was taken.
    pub(super) fn records_lost(&mut self, until: Nanos, incidents: &mut Incidents) {
        self.lost_until = self.lost_until.max(until);
        for entry in self.open.drain(..) {
            incidents.count_at_least(&entry.device, (entry.since, entry.until));
        }
    }

    /// The server has ended: the next one's goroutines have the same IDs.
    pub(super) fn server_ended(&mut self) {
        self.open.clear();
        self.sampled = (0, FxHashSet::default());
    }

    /// Counts the entries of which it is known what became of them in the incidents in which that was. `at_end`: those that were
    /// tried count, too, and of those in a queue nothing is known.
    pub(super) fn settle(
        &mut self,
        (now, at_end): (Nanos, bool),
        names: &RequestNames,
        incidents: &mut Incidents,
    ) {
        let (sampled, found) = &self.sampled;
        let is_sampled = now.saturating_sub(*sampled) < DRAINED;
        let is_settled = |entry: &OpenEntry| {
            let has_it = entry.sink.is_some_and(|sink| found.contains(&sink));
            let is_old = now.saturating_sub(entry.at) >= DRAINED && !(is_sampled && has_it);
            entry.is_dropped || is_old || (entry.tried && at_end)
        };
        let is_named = |entry: &OpenEntry| at_end || !names.is_asked(entry.request);
        let settled = self
            .open
            .extract_if(.., |entry| is_settled(entry) && is_named(entry));
        for entry in settled {
            let name = names.get(entry.request);
            let id = name.and_then(|name| name.id.as_deref());
            let when = (entry.since, entry.until);
            incidents.add_untaken_entry(&entry.device, when, entry.tried, id);
        }
    }

    /// Whether it is not yet known what becomes of an entry.
    pub(super) fn are_unsettled(&self, device: &Device) -> bool {
        self.open.iter().any(|entry| entry.device == *device)
    }
}
