//! From requests that are over to findings: judged, named, and reported when no name is missing any longer.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;
use tracer_model::{
    Device, EntryHead, EntryQuery, Finding, GoroutineSample, Hang, Nanos, Op, Operation,
    RequestSeq, Summary,
};

use crate::{
    diagnose::{
        incidents::Incidents,
        judge::{self, Case, Verdict},
        overlaps::resolve_overlaps,
        successes::is_taken,
        unascribed::{Unascribed, ascribe},
    },
    engine::{
        pending_verdicts::PendingVerdicts, request_names::RequestNames, step::Query, step::Step,
        trackers::Trackers, untaken_entries::UntakenEntryList,
    },
    request::{lifecycle::Stage, request::Request},
};

/// Entry queries under way at once for requests that were merely refused: their number has no bound of its own, where hangs
/// come one in two seconds.
const MAX_QUERIES: usize = 16;

/// Entries that many ns later than asked for are found too: their times are taken by the server, ours by the kernel.
const SEARCH_SLACK: Nanos = 5_000_000;

#[derive(Debug, Default)]
pub(super) struct Verdicts {
    names: RequestNames,
    pending: PendingVerdicts,
    untaken: UntakenEntryList,
    /// Hangs that have an ID.
    hangs: u64,
    /// Devices of which nobody said that they are audit devices, and that were warned of.
    suspects: FxHashSet<Device>,
}

impl Verdicts {
    pub(super) fn are_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn concern(&self, device: &Device) -> bool {
        self.pending.concern(device)
    }

    pub(super) fn kept(&self) -> usize {
        self.names.kept() + self.pending.len() + self.untaken.kept() + self.suspects.len()
    }

    /// The ID of a hang that is reported for the first time.
    pub(super) fn next_hang(&mut self) -> u64 {
        self.hangs += 1;
        self.hangs
    }

    /// Judges requests that are over.
    pub(super) fn conclude(
        &mut self,
        requests: Vec<Request>,
        trackers: &mut Trackers,
        step: &mut Step,
    ) {
        // One may have queued behind the next.
        let threshold = trackers.session.threshold;
        for request in requests.iter().filter(|r| r.is_blocked(threshold)) {
            self.names.learn(request);
        }
        for mut request in requests {
            let (mut verdicts, unascribed) = judge(&mut request, trackers);
            let has_hang = bound(&mut verdicts, &unascribed);
            if !has_hang && unascribed.duration() >= threshold {
                self.warn_of_unascribed(&request, unascribed.duration(), step);
            }
            let (verdicts, of_others): (Vec<_>, Vec<_>) = verdicts
                .into_iter()
                .partition(|verdict| trackers.is_audit(verdict.device()));
            let is_cut = request.stage == Stage::Cut;
            for verdict in of_others.iter().filter(|_| !is_cut) {
                self.suspect(verdict, step);
            }
            if verdicts.is_empty() {
                continue;
            }
            if verdicts.iter().any(|v| matches!(v, Verdict::Hang(_))) {
                trackers.requests.counts.hung(&request);
            }
            self.names.learn(&request);
            for verdict in verdicts.iter().filter(|_| !is_cut) {
                let device = verdict.device();
                let of = (device, trackers.identities.is_alone(device));
                self.untaken.add(&request, of, &mut trackers.incidents);
            }
            let wanted = if is_cut {
                BTreeSet::new()
            } else {
                self.wanted(&request, &verdicts, trackers, step)
            };
            self.pending.defer(request.seq, verdicts, wanted);
        }
    }

    /// Takes what is done on an audit device: an entry of a request that is over may be written all the same.
    pub(super) fn observe(&mut self, operation: &Operation) {
        self.untaken.observe(operation);
    }

    /// Takes which goroutines a sample found in the code of devices.
    pub(super) fn sampled(&mut self, at: Nanos, samples: &[GoroutineSample]) {
        let goids = samples.iter().map(|sample| sample.goid).collect();
        self.untaken.sampled(at, goids);
    }

    /// Counts the entries of which it is known what became of them.
    pub(super) fn settle_entries(&mut self, now: Nanos, at_end: bool, incidents: &mut Incidents) {
        self.untaken.settle((now, at_end), &self.names, incidents);
    }

    /// Records were lost, up to this time.
    pub(super) fn records_lost(&mut self, until: Nanos, incidents: &mut Incidents) {
        self.untaken.records_lost(until, incidents);
    }

    /// The server has ended, and all that it did is judged.
    pub(super) fn server_ended(&mut self) {
        self.untaken.server_ended();
    }

    /// Whether it is not yet known which entries the device did not take.
    pub(super) fn has_unsettled_entries(&self, device: &Device) -> bool {
        self.untaken.are_unsettled(device)
    }

    /// A request queued for a device of which it is not known which it is, and waited for no other.
    fn warn_of_unascribed(&mut self, request: &Request, waited: Nanos, step: &mut Step) {
        if request.client.is_none() || !self.suspects.insert(Device::unknown()) {
            return;
        }
        step.findings.push(Finding::Warning(format!(
            "a client's request queued {:.2} s for one of several audit devices, and it is not known for which: it has no hang",
            waited as f64 / 1e9
        )));
    }

    /// A client's request waited for something of which nobody said that it is an audit device.
    fn suspect(&mut self, verdict: &Verdict, step: &mut Step) {
        let Verdict::Hang(hang) = verdict else { return };
        if hang.request.client.is_none() || !self.suspects.insert(hang.device.clone()) {
            return;
        }
        let Device { address, .. } = &hang.device;
        step.findings.push(Finding::Warning(format!(
            "a client's request waited {:.2} s for {}. No audit entry has been seen written there: if it is an audit device, trace with --audit {address}",
            hang.duration as f64 / 1e9,
            hang.device
        )));
    }

    /// The requests whose names the verdicts need; asks for those that are not known.
    fn wanted(
        &mut self,
        request: &Request,
        verdicts: &[Verdict],
        trackers: &Trackers,
        step: &mut Step,
    ) -> BTreeSet<RequestSeq> {
        let hangs = || {
            verdicts.iter().filter_map(|verdict| match verdict {
                Verdict::Hang(hang) => Some(&**hang),
                Verdict::Refusal(_) => None,
            })
        };
        let blockers = hangs().flat_map(|hang: &Hang| hang.stalls.iter().filter_map(|s| s.behind));
        let mut wanted: BTreeSet<_> = blockers.collect();
        wanted.insert(request.seq);
        if hangs().next().is_some() || self.pending.len() < MAX_QUERIES {
            self.ask(request, request.end, trackers, step);
            for blocker in wanted.iter().filter(|seq| **seq != request.seq) {
                self.ask_under_way(*blocker, request.end, trackers, step);
            }
        }
        wanted
    }

    /// The trace is about to end: blocked requests will be reported without being asked for again.
    pub(super) fn ask_all(&mut self, now: Nanos, trackers: &Trackers, step: &mut Step) {
        let threshold = trackers.session.threshold;
        let blocked = trackers.requests.all().filter(|r| r.is_blocked(threshold));
        for seq in blocked.map(|request| request.seq).collect::<Vec<_>>() {
            self.ask_under_way(seq, now, trackers, step);
        }
    }

    fn ask_under_way(&mut self, seq: RequestSeq, now: Nanos, trackers: &Trackers, step: &mut Step) {
        if let Some(request) = trackers.requests.get(seq) {
            self.names.learn(request);
            self.ask(request, now, trackers, step);
        }
    }

    /// Asks for the name of a request, unless it is known or the request is no client's.
    fn ask(&mut self, request: &Request, until: Nanos, trackers: &Trackers, step: &mut Step) {
        if self.names.get(request.seq).is_some() {
            return;
        }
        let offset = trackers.session.wall_offset;
        let wall = |at: Nanos| offset.saturating_add_unsigned(at);
        let clients = trackers.requests.entry_clients;
        let Some(client) = request.client.filter(|_| clients.are_searchable()) else {
            return;
        };
        // The next request on its connection may have followed at once.
        let until = match request.stage {
            Stage::EndUnseen => until.saturating_sub(SEARCH_SLACK).max(request.start),
            _ => until,
        };
        let query = EntryQuery {
            client_port: client.port(),
            client_address: clients.address(client),
            not_before: wall(request.start),
            not_after: wall(until),
        };
        self.names.asked(request.seq, query.clone());
        step.queries.push(Query::Entry(query));
    }

    /// Takes the answer to an entry query.
    pub(super) fn answered(
        &mut self,
        asked: &EntryQuery,
        entry: Option<&EntryHead>,
        trackers: &mut Trackers,
    ) {
        for seq in self.names.answered(asked, entry) {
            let request = trackers.requests.get_mut(seq);
            match (self.names.get(seq), request) {
                (Some(entry), Some(request)) => request.learn(entry),
                // It may be written yet.
                (None, Some(_)) => self.names.forget(seq),
                _ => {}
            }
        }
    }

    /// Reports the verdicts that wait for no name; `all` if no answers are to come.
    pub(super) fn release(
        &mut self,
        all: bool,
        trackers: &mut Trackers,
        totals: &mut Summary,
        step: &mut Step,
    ) {
        for verdict in self.pending.release(&self.names, all) {
            match verdict {
                Verdict::Hang(mut hang) => {
                    if hang.id.is_none() {
                        hang.id = Some(self.next_hang());
                    }
                    totals.hangs += 1;
                    trackers.incidents.add_hang(&hang);
                    step.findings.push(Finding::Hang(hang));
                }
                Verdict::Refusal(mut refusal) => {
                    totals.refusals += 1;
                    refusal.before = trackers
                        .incidents
                        .add_refusal(&refusal.device, refusal.start);
                    step.findings.push(Finding::Refusal(refusal));
                }
            }
        }
    }
}

/// With the request's waits for devices of which it is not known which they are.
fn judge(request: &mut Request, trackers: &mut Trackers) -> (Vec<Verdict>, Unascribed) {
    let unascribed = ascribe(&mut request.operations, request.goid);
    resolve_overlaps(&mut request.operations);
    for index in 0..request.operations.len() {
        complete(&mut request.operations, index, trackers);
    }
    let verdicts = judge::judge(
        &Case {
            info: &request.info(),
            operations: &request.operations,
            hang_ids: &request.hang_ids,
        },
        trackers.session.threshold,
    );
    (verdicts, unascribed)
}

/// Any of these hangs may be longer by what the request waited for one of several devices. Whether there is a hang.
fn bound(verdicts: &mut [Verdict], unascribed: &Unascribed) -> bool {
    let mut is_bounded = false;
    for verdict in verdicts {
        let stalls = verdict.stalls_mut();
        let known = stalls
            .iter()
            .map(|stall| (stall.start, stall.start + stall.duration));
        let longer = unascribed.beside(known);
        if let Some(last) = stalls.last_mut() {
            last.uncertainty += longer;
            is_bounded = true;
        }
    }
    is_bounded
}

/// What a wait that no socket showed, or whose end was not seen, means for its device.
fn complete(operations: &mut [Operation], index: usize, trackers: &mut Trackers) {
    let operation = &mut operations[index];
    match operation.op {
        Op::Lock => {
            // Why the holder of the lock was stalled is better known now that it has given up, or has gone on.
            let known = trackers.why_occupied(&operation.device, operation.start);
            if let Some((cause, drops)) = known {
                operation.holder_cause = Some(cause);
                operation.evidence.drops.clone_from(drops);
            }
        }
        // Others were observed when their sockets showed that they ended.
        Op::Resolve | Op::Connect | Op::Write
            if (operation.socket.is_none() || operation.outcome.is_none())
                && trackers.is_audit(&operation.device) =>
        {
            trackers.note_failure(operation);
            let threshold = trackers.session.threshold;
            let operation = &operations[index];
            let taken = taken_since(operations, operation);
            trackers.incidents.observe_late(operation, taken, threshold);
        }
        Op::Resolve | Op::Connect | Op::Write => {}
    }
}

/// When the device first took an entry of the request after this operation.
fn taken_since(operations: &[Operation], operation: &Operation) -> Option<Nanos> {
    let later = |other: &&Operation| {
        let is_its = other.device == operation.device && !std::ptr::eq(*other, operation);
        is_its && other.end >= operation.end && is_taken(other)
    };
    operations.iter().filter(later).map(|o| o.end).min()
}
