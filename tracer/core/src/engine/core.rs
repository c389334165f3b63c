//! One event through all parts, in the order of the layers.

use std::{mem, net::SocketAddr};

use tracer_model::{
    Actor, BufferedTotals, Device, Event, EventKind, Finding, GoroutineSample, HandlerSample,
    Incident, LostEntries, Nanos, Operation, Snapshot, Summary,
};

use crate::{
    engine::{
        failing_files::FailingFiles,
        forwarded, open_stalls,
        sampler::Sampler,
        searches::Searches,
        snapshot::{self, BufferedActivity},
        step::{Query, Step},
        trackers::Trackers,
        verdicts::Verdicts,
    },
    request::{request::Request, table::Act},
    track::sockets::{Began, Change},
};

/// Between two ticks, ns, where nothing is due.
const TICK: Nanos = 250_000_000;

/// All that is known of the trace so far.
#[derive(Debug, Default)]
pub struct Core {
    pub(super) trackers: Trackers,
    pub(super) sampler: Sampler,
    pub(super) verdicts: Verdicts,
    pub(super) files: FailingFiles,
    pub(super) searches: Searches,
    pub(super) totals: Summary,
    ticked: Nanos,
    /// Empty between two events: kept for its memory.
    changes: Vec<Change>,
    pub(super) step: Step,
}

impl Core {
    /// The first event is to be the session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Local and remote ends of connections that the server has closed and the kernel has not: what their send queues hold
    /// is wanted before the end ([`EventKind::SendQueues`]).
    pub fn closing(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.trackers.sockets.closing_connections()
    }

    /// Takes one event.
    pub fn on(&mut self, event: &Event) -> Step {
        // Recordings may have been made when such entries had names.
        match event.without_test() {
            Some(event) => self.take(&event),
            None => self.take(event),
        }
    }

    fn take(&mut self, event: &Event) -> Step {
        if let Some(ended) = self.trackers.sockets.take_unexplained(event) {
            self.change(event.at, Change::Ended(ended));
        }
        match &event.what {
            EventKind::Session(session) => self.begin(session),
            EventKind::Restarted(session) => self.begin_again(event.at, session),
            EventKind::ServerEnded => self.server_ended(event.at),
            EventKind::Tick => self.tick(event.at),
            EventKind::EntryFound { asked, entry } => {
                self.searched(asked, entry.as_ref());
                self.verdicts
                    .answered(asked, entry.as_ref(), &mut self.trackers);
                self.release(false);
            }
            EventKind::GoroutinesSampled {
                goroutines,
                handlers,
            } => self.sampled(event.at, goroutines, handlers.as_deref()),
            EventKind::ForwardedSampled { handlers } => {
                forwarded::take(event.at, handlers, &mut self.sampler, &mut self.trackers);
                self.conclude();
            }
            EventKind::DevicesFailed {
                by,
                phase,
                failures,
            } => self.devices_fail(event.at, (*by, *phase), failures),
            EventKind::FileSize { .. } => self.file_measured(event),
            EventKind::BufferingEnded(totals) => self.buffering_ended(event.at, totals),
            EventKind::DevicesRead { devices } => self.trackers.configure(event.at, devices),
            EventKind::DevicesDeclared { devices } => self.trackers.declare(devices),
            EventKind::BufferedWrite { .. } => self.trackers.buffered_write(event),
            EventKind::RecordsLost { records, until, .. } => {
                self.totals.events_lost += records;
                let all = until.unwrap_or(0).max(event.at);
                self.trackers.dues.reset(all);
                self.trackers.sockets.records_lost(all);
                self.trackers.stall_periods.records_lost();
                self.trackers.requests.records_lost(*until);
                let incidents = &mut self.trackers.incidents;
                self.verdicts.records_lost(all, incidents);
            }
            EventKind::SendQueues { queues } => {
                self.trackers.sockets.record_send_queues(event.at, queues);
                self.verdicts
                    .ask_all(event.at, &self.trackers, &mut self.step);
            }
            EventKind::End => self.end(event.at),
            _ => self.observe(event),
        }
        let mut step = mem::take(&mut self.step);
        for device in step.findings.iter_mut().filter_map(Finding::device_mut) {
            self.trackers.identities.describe(device);
        }
        step
    }

    /// Where audit devices are, as far as is known: addresses, rather than names and URLs.
    pub fn audit_addresses(&self) -> Vec<Device> {
        self.trackers.audit_addresses()
    }

    /// When the next [`EventKind::Tick`] should come, at the latest.
    pub fn due(&self) -> Nanos {
        let dues = [
            self.sampler.due(&self.trackers),
            open_stalls::due(&self.trackers, &self.sampler),
            Some(self.ticked + TICK),
        ];
        dues.into_iter().flatten().min().unwrap_or(0)
    }

    /// Whether the kernel side may buffer: no device stalls or fails, every connection is acknowledged, no request is
    /// blocked, no verdict is pending.
    pub fn may_buffer(&self) -> bool {
        let threshold = self.trackers.session.threshold;
        let is_well = |request: &Request| {
            let waits = request.is_blocked(threshold) || request.is_forwarded();
            !waits && !request.operations.iter().any(Operation::failed)
        };
        self.trackers.sockets.are_healthy()
            && self.trackers.incidents.is_empty()
            && !self.trackers.dues.suspects_any(self.ticked)
            && !self.verdicts.are_pending()
            && self.trackers.requests.all().all(is_well)
    }

    /// Whether nothing is kept of what is over. For tests.
    pub fn is_idle(&self) -> bool {
        self.trackers.requests.is_empty()
            && self.trackers.sockets.is_empty()
            && !self.verdicts.are_pending()
            && self.trackers.incidents.are_reported()
    }

    /// How many things are remembered, in all tables: bounded by open sockets and requests under way, and by constants for
    /// what is over. For tests.
    pub fn kept(&self) -> usize {
        self.trackers.kept() + self.verdicts.kept()
    }

    /// The state at this moment, if all that happened has been fed.
    pub fn snapshot(&self, at: Nanos) -> Snapshot {
        let snapshot = snapshot::snapshot(at, &self.trackers, &self.sampler, &self.totals);
        self.trackers.described(snapshot)
    }

    /// The state at this moment, while the kernel side buffers.
    pub fn snapshot_while_buffering(&self, at: Nanos, buffered: &BufferedActivity) -> Snapshot {
        let trackers = &self.trackers;
        let snapshot = snapshot::snapshot_while_buffering(at, buffered, trackers, &self.totals);
        self.trackers.described(snapshot)
    }

    fn buffering_ended(&mut self, at: Nanos, totals: &BufferedTotals) {
        self.trackers.dues.reset(at);
        for device in &totals.took {
            self.trackers.dues.sign(device, at, true);
        }
        self.trackers.requests.reset(at, totals);
        self.trackers.sockets.reset();
        self.totals.audit_writes += totals.audit_writes;
        self.trackers.throughput.entries(totals.audit_writes);
        self.totals.events += totals.streamed;
    }

    fn observe(&mut self, event: &Event) {
        self.totals.events += 1;
        self.trackers.learn_device(event);
        let identities = &self.trackers.identities;
        self.trackers.throughput.observe(event, identities);
        let mut changes = mem::take(&mut self.changes);
        let sockets = &mut self.trackers.sockets;
        sockets.observe(event, identities, &mut changes);
        for change in changes.drain(..) {
            self.change(event.at, change);
        }
        self.changes = changes;
        self.trackers.requests.observe(event);
        self.conclude();
    }

    pub(super) fn change(&mut self, at: Nanos, change: Change) {
        match change {
            Change::Began(began) => self.wait_began(at, &began),
            Change::Ended(operation) => {
                let ended = (&operation.device, operation.end);
                self.trackers.stall_periods.wait_ended(ended.0, ended.1);
                self.operation_ended(*operation, true);
            }
            Change::Done(operation) => self.operation_ended(*operation, false),
            Change::Filling(filling) => self.find(Finding::Filling(filling)),
        }
    }

    fn wait_began(&mut self, at: Nanos, began: &Began) {
        let Began { by, ref device, .. } = *began;
        let act = Act::of(began.op, began.entry.as_ref());
        self.infer_queueing(at, by, device, act);
        let request = self.trackers.requests.wait_began(at, by, act);
        self.trackers.wait_began(device, at, (request, by));
    }

    /// Whether the request has queued, where stacks cannot tell.
    fn infer_queueing(&mut self, at: Nanos, by: Actor, device: &Device, act: Act<'_>) {
        if !self.trackers.session.stacks
            && self.trackers.is_audit(device)
            && let Some(period) = self.trackers.stall_periods.certain(device, at)
        {
            let requests = &mut self.trackers.requests;
            requests.infer_queueing(at, by, act, (device, period));
        }
    }

    /// `waited`: rather than done at once.
    pub(super) fn operation_ended(&mut self, mut operation: Operation, waited: bool) {
        if operation.entry.is_some() {
            if !operation.failed() {
                self.totals.audit_writes += 1;
                self.trackers.throughput.entry(&operation.device);
            }
            if !self.trackers.is_audit(&operation.device) {
                self.trackers.devices.insert(operation.device.clone());
            }
        }
        if !waited {
            let act = Act::of(operation.op, operation.entry.as_ref());
            self.infer_queueing(operation.start, operation.by, &operation.device, act);
        }
        let is_audit = self.trackers.is_audit(&operation.device);
        if is_audit {
            let took = operation.entry.is_some() && !operation.failed();
            let dues = &mut self.trackers.dues;
            dues.sign(&operation.device, operation.end, took);
            self.trackers.note_failure(&mut operation);
            self.trackers.note_stall(&operation);
            let threshold = self.trackers.session.threshold;
            self.trackers.incidents.observe(&operation, threshold);
            self.verdicts.observe(&operation);
        }
        if waited || is_audit || operation.failed() {
            self.trackers.requests.operation_ended(operation, waited);
            self.conclude();
        }
    }

    fn sampled(
        &mut self,
        at: Nanos,
        samples: &[GoroutineSample],
        handlers: Option<&[HandlerSample]>,
    ) {
        self.trackers.learn_devices(at, samples);
        for operation in self.trackers.sockets.end_missing_waits(samples) {
            self.change(at, Change::Ended(Box::new(operation)));
        }
        forwarded::take_none(at, &mut self.sampler, &mut self.trackers);
        self.sampler.take(at, samples, handlers, &mut self.trackers);
        self.verdicts.sampled(at, samples);
        self.conclude();
        self.claim_dues(at, samples);
    }

    /// Judges the requests that have ended by this event.
    pub(super) fn conclude(&mut self) {
        let mut concluded = self.trackers.requests.take_concluded();
        if concluded.is_empty() {
            return;
        }
        for request in &mut concluded {
            self.trackers.cut_open_operations(request);
            self.took_entries(request);
            self.note_dues(request);
            let forwarded = forwarded::found(request, self.trackers.session.threshold);
            self.step.findings.extend(forwarded);
        }
        self.verdicts
            .conclude(concluded, &mut self.trackers, &mut self.step);
        self.release(false);
    }

    pub(super) fn release(&mut self, all: bool) {
        self.verdicts
            .release(all, &mut self.trackers, &mut self.totals, &mut self.step);
    }

    pub(super) fn settle_losses(&mut self) {
        for loss in self.trackers.sockets.take_losses() {
            self.entries_lost(loss);
        }
    }

    pub(super) fn entries_lost(&mut self, loss: LostEntries) {
        self.trackers.incidents.add_lost_entries(&loss);
        self.find(Finding::LostEntries(loss));
    }

    fn tick(&mut self, now: Nanos) {
        self.ticked = now;
        if self.sampler.ask(now, &mut self.trackers) {
            self.step.queries.push(Query::Goroutines);
        }
        let parts = (&self.sampler, &mut self.verdicts);
        open_stalls::report(now, &mut self.trackers, parts, &mut self.step);
        self.trackers.requests.expire(now);
        self.conclude();
        self.ask_file_sizes(now);
        self.ask_measurements(now);
        self.settle_losses();
        self.verdicts
            .settle_entries(now, false, &mut self.trackers.incidents);
        let (verdicts, requests) = (&self.verdicts, &self.trackers.requests);
        let is_in_use = |device: &Device, time: (Nanos, Nanos)| {
            verdicts.concern(device)
                || requests.use_device(device, time)
                || verdicts.has_unsettled_entries(device)
        };
        for incident in self.trackers.incidents.take_settled(now, is_in_use) {
            self.incident(incident);
        }
    }

    pub(super) fn incident(&mut self, mut incident: Incident) {
        let sockets = &self.trackers.sockets;
        if !sockets.knows_losses(&incident.device, incident.start) {
            incident.lost = None;
        }
        incident.count_untaken_from_zero(self.trackers.session.stacks);
        incident.untaken.at_least |= self.trackers.session.has_unknown_entries;
        self.totals.incidents += 1;
        self.find(Finding::Incident(incident));
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.step.findings.push(finding);
    }
}
