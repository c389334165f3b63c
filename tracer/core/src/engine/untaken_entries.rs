//! Entries that devices did not take, until the incident is over in which that was.
//!
//! Since Vault 1.15 a goroutine of its own has each entry for each device: it may still write the entry after the request was
//! answered, or drop it when the broker's context has ended in the queue. The first shows in what it does later, the second in
//! that a sample no longer finds it.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use tracer_model::{Device, Nanos, Op, Operation, Outcome, RequestSeq, UntakenEntries};

use crate::{
    diagnose::untaken::{Untaken, untaken},
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
    /// The goroutine that may still write it.
    sink: Option<u64>,
    tried: bool,
    /// Nobody has it any more.
    is_dropped: bool,
}

#[derive(Debug, Default)]
pub(super) struct UntakenEntryList {
    open: Vec<OpenEntry>,
    /// Those that are settled, of incidents that are not reported yet.
    settled: BTreeMap<Device, UntakenEntries>,
    /// When the last sample was taken, and which goroutines it found in the code of devices.
    sampled: (Nanos, FxHashSet<u64>),
}

impl UntakenEntryList {
    pub(super) fn kept(&self) -> usize {
        self.open.len() + self.settled.len()
    }

    /// Takes what this device did not take of a request that is over.
    pub(super) fn add(&mut self, request: &Request, device: &Device) {
        // Of a request that failed, nobody has the entry: that it queued here is not what is missing.
        let has_failed = request.status.is_some_and(|status| status >= 500);
        for Untaken {
            tried, by, until, ..
        } in untaken(&request.operations, device)
        {
            if self.open.len() >= MAX_OPEN || (!tried && has_failed) {
                continue;
            }
            let sink = by.filter(|by| Some(*by) != request.goid);
            let (sampled, found) = &self.sampled;
            let is_gone = |sink| *sampled > until && !found.contains(&sink);
            self.open.push(OpenEntry {
                device: device.clone(),
                request: request.seq,
                at: request.end,
                sink,
                tried,
                is_dropped: sink.is_none_or(is_gone),
            });
        }
    }

    /// Takes what is done on an audit device: a goroutine whose request is over may be the one.
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

    /// Takes which goroutines a sample found in the code of devices.
    pub(super) fn sampled(&mut self, at: Nanos, goids: FxHashSet<u64>) {
        for entry in self.open.iter_mut().filter(|entry| entry.at < at) {
            let sink = entry.sink;
            entry.is_dropped |= sink.is_some_and(|sink| !goids.contains(&sink));
        }
        self.sampled = (at, goids);
    }

    /// Counts the entries of which it is known what became of them, for devices with an incident that is not reported yet.
    pub(super) fn settle(
        &mut self,
        now: Nanos,
        names: &RequestNames,
        has_incident: impl Fn(&Device) -> bool,
    ) {
        let (sampled, found) = &self.sampled;
        let is_sampled = now.saturating_sub(*sampled) < DRAINED;
        let is_settled = |entry: &OpenEntry| {
            let has_it = entry.sink.is_some_and(|sink| found.contains(&sink));
            let is_old = now.saturating_sub(entry.at) >= DRAINED && !(is_sampled && has_it);
            entry.is_dropped || is_old
        };
        let settled = self.open.extract_if(.., |entry| {
            is_settled(entry) && !names.is_asked(entry.request)
        });
        for entry in settled {
            let totals = self.settled.entry(entry.device).or_default();
            if entry.tried {
                totals.failed += 1;
                continue;
            }
            *totals.missed.get_or_insert_default() += 1;
            let name = names.get(entry.request);
            let id = name.and_then(|name| name.id.as_ref());
            totals.add_request(id.map(String::as_str));
        }
        self.settled.retain(|device, _| has_incident(device));
    }

    /// Whether it is not yet known what becomes of an entry.
    pub(super) fn are_unsettled(&self, device: &Device) -> bool {
        self.open.iter().any(|entry| entry.device == *device)
    }

    /// Takes out the entries of an incident that is over. Of an entry that is open when the trace ends, nothing is known.
    /// `is_queue_seen`: the server's stacks can be read.
    pub(super) fn take(&mut self, device: &Device, is_queue_seen: bool) -> UntakenEntries {
        let mut totals = self.settled.remove(device).unwrap_or_default();
        totals.missed = is_queue_seen.then_some(totals.missed.unwrap_or(0));
        totals
    }
}
