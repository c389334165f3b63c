//! Entries that devices did not take, until the incident is over in which that was.
//!
//! Since Vault 1.15 a goroutine of its own has each entry for each device: it may still write the entry after the request was
//! answered, or drop it when the broker's context has ended in the queue. The first shows in what it does later, the second in
//! that a sample no longer finds it.

use rustc_hash::FxHashSet;
use tracer_model::{Device, Incident, Nanos, Op, Operation, Outcome, RequestSeq, UntakenEntries};

use crate::{
    diagnose::untaken::{Untaken, untaken},
    engine::request_names::RequestNames,
    request::request::Request,
};

/// Entries remembered at once. Further ones are not counted.
const MAX_ENTRIES: usize = 1 << 14;

/// An entry in the queue of a device that works again is written, or dropped, within this time, ns.
const DRAINED: Nanos = 1_000_000_000;

#[derive(Debug)]
struct Entry {
    device: Device,
    request: RequestSeq,
    /// When its request was over.
    at: Nanos,
    /// The goroutine that may still write it.
    sink: Option<u64>,
    tried: bool,
    /// Nobody has it any more.
    is_dropped: bool,
}

impl Entry {
    fn is_settled(&self, now: Nanos) -> bool {
        self.tried || self.is_dropped || now.saturating_sub(self.at) >= DRAINED
    }
}

#[derive(Debug, Default)]
pub(super) struct UntakenEntryList {
    entries: Vec<Entry>,
    /// When the last sample was taken, and which goroutines it found in the code of devices.
    sampled: (Nanos, FxHashSet<u64>),
}

impl UntakenEntryList {
    pub(super) fn kept(&self) -> usize {
        self.entries.len()
    }

    /// Takes what this device did not take of a request that is over.
    pub(super) fn add(&mut self, request: &Request, device: &Device) {
        // Of a request that failed, nobody has the entry: that it queued here is not what is missing.
        let has_failed = request.status.is_some_and(|status| status >= 500);
        for Untaken {
            tried, by, until, ..
        } in untaken(&request.operations, device)
        {
            if self.entries.len() >= MAX_ENTRIES || (!tried && has_failed) {
                continue;
            }
            let sink = by.filter(|by| Some(*by) != request.goid);
            let (sampled, found) = &self.sampled;
            let is_gone = |sink| *sampled > until && !found.contains(&sink);
            self.entries.push(Entry {
                device: device.clone(),
                request: request.seq,
                at: request.end,
                sink,
                tried,
                is_dropped: sink.is_some_and(is_gone),
            });
        }
    }

    /// Takes what is done on an audit device: a goroutine whose request is over may be the one.
    pub(super) fn observe(&mut self, operation: &Operation) {
        let Some(goid) = operation.by.goid.filter(|_| !self.entries.is_empty()) else {
            return;
        };
        let is_taken = operation.op == Op::Write && operation.outcome == Some(Outcome::Ok);
        self.entries.retain_mut(|entry| {
            let is_its = entry.sink == Some(goid) && entry.device == operation.device;
            entry.tried |= is_its && operation.op != Op::Lock;
            !(is_its && is_taken)
        });
    }

    /// Takes which goroutines a sample found in the code of devices.
    pub(super) fn sampled(&mut self, at: Nanos, goids: FxHashSet<u64>) {
        for entry in self.entries.iter_mut().filter(|entry| entry.at < at) {
            let sink = entry.sink;
            entry.is_dropped |= sink.is_some_and(|sink| !goids.contains(&sink));
        }
        self.sampled = (at, goids);
    }

    /// Whether it is not yet known what becomes of an entry.
    pub(super) fn are_unsettled(&self, device: &Device, now: Nanos) -> bool {
        let mut its = self.entries.iter().filter(|entry| entry.device == *device);
        its.any(|entry| !entry.is_settled(now))
    }

    /// Takes out the entries of an incident. Of what still has an entry when the trace ends nothing is known.
    /// `is_queue_seen`: the server's stacks can be read.
    pub(super) fn take(
        &mut self,
        incident: &Incident,
        now: Nanos,
        (names, is_queue_seen): (&RequestNames, bool),
    ) -> UntakenEntries {
        let end = incident.end.unwrap_or(now).saturating_add(DRAINED);
        let of = |entry: &mut Entry| entry.device == incident.device && entry.at <= end;
        let mut totals = UntakenEntries {
            missed: is_queue_seen.then_some(0),
            ..UntakenEntries::default()
        };
        let entries = self.entries.extract_if(.., of);
        for entry in entries.filter(|entry| entry.is_settled(now)) {
            if entry.tried {
                totals.failed += 1;
                continue;
            }
            *totals.missed.get_or_insert_default() += 1;
            let name = names.get(entry.request);
            let id = name.and_then(|name| name.id.as_ref());
            totals.add_request(id.map(String::as_str));
        }
        totals
    }
}
