//! All that the trackers know: what the parts of the engine read.

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_model::{
    Actor, Cause, Device, Drops, FailureReason, Nanos, Operation, Outcome, RequestSeq, Session,
};

use crate::{
    diagnose::{cause::cause_of, incidents::Incidents},
    request::{lifecycle::Stage, request::Request, table::Requests},
    track::{
        dues::Dues,
        identities::Identities,
        sampled_wait::OpenSampledWait,
        sockets::Sockets,
        stall_periods::{HANDOVER, StallPeriods},
        throughput::Throughput,
    },
};

/// Of the threshold: what takes so long makes others queue.
const STALL_PART: Nanos = 4;

/// How a device failed last.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) at: Nanos,
    pub(super) cause: Cause,
    /// The longest that the server waited for it before it gave up an attempt, ns.
    pub(super) patience: Nanos,
    pub(super) drops: Drops,
    /// Whether only others' entries showed it.
    pub(super) inferred: bool,
}

/// How the last operation that stalled in a device, and went well in the end, did so.
#[derive(Debug)]
pub(super) struct EndedStall {
    at: Nanos,
    cause: Cause,
    drops: Drops,
}

/// The tables are hashed without a secret: whom the server serves cannot choose the keys, which are goroutine IDs, the times
/// at which sockets were seen, and audit devices.
#[derive(Debug, Default)]
pub(super) struct Trackers {
    pub(super) session: Session,
    /// Whether the errors in the server's log can be read.
    pub(super) reads_log: bool,
    /// Which device a socket leads to.
    pub(super) identities: Identities,
    pub(super) sockets: Sockets,
    pub(super) requests: Requests,
    pub(super) incidents: Incidents,
    pub(super) stall_periods: StallPeriods,
    pub(super) throughput: Throughput,
    pub(super) dues: Dues,
    /// Audit devices: declared by the operator, or found by an entry that was written or by a stack.
    pub(super) devices: FxHashSet<Device>,
    pub(super) failures: FxHashMap<Device, Failure>,
    pub(super) stalls: FxHashMap<Device, EndedStall>,
    /// Devices by the paths that the operator gave them, as far as the server's log had path and address together.
    pub(super) paths: FxHashMap<String, Device>,
}

impl Trackers {
    pub(super) fn is_audit(&self, device: &Device) -> bool {
        self.devices.contains(device)
    }

    /// Remembers how the device failed, if the operation did, and adds what is known of its time-out.
    pub(super) fn note_failure(&mut self, operation: &mut Operation) {
        if operation.failed() {
            let before = self.failures.get(&operation.device);
            let mut patience = before.map_or(0, |failure| failure.patience);
            if operation.outcome == Some(Outcome::Timeout) {
                patience = patience.max(operation.duration());
            }
            operation.patience = operation.patience.max(patience);
            let failure = Failure {
                at: operation.end,
                cause: cause_of(operation),
                patience,
                drops: operation.evidence.drops.clone(),
                inferred: operation.reported == Some(FailureReason::NotTaken),
            };
            self.failures.insert(operation.device.clone(), failure);
        }
    }

    /// Remembers why the device was stalled, if the operation was for so long that others may have queued, and did not fail.
    pub(super) fn note_stall(&mut self, operation: &Operation) {
        if !operation.failed() && operation.duration() >= self.session.threshold / STALL_PART {
            let stall = EndedStall {
                at: operation.end,
                cause: cause_of(operation),
                drops: operation.evidence.drops.clone(),
            };
            self.stalls.insert(operation.device.clone(), stall);
        }
    }

    /// Why others had to wait for the device from then on: how it failed since, or was stalled until then or later. Those who
    /// queued meanwhile go in one after the other, so who queues behind them waits for the same reason.
    pub(super) fn why_occupied(&self, device: &Device, since: Nanos) -> Option<(Cause, &Drops)> {
        let failure = self.failures.get(device);
        let failure = failure.filter(|failure| failure.at >= since);
        let failed = failure.map(|failure| (failure.cause, &failure.drops));
        failed.or_else(|| {
            let stall = self.stalls.get(device);
            let stall = stall.filter(|stall| stall.at.saturating_add(HANDOVER) >= since);
            stall.map(|stall| (stall.cause, &stall.drops))
        })
    }

    /// Somebody begins to wait in a device, which may have been stalled before the trace if it was never seen to work.
    pub(super) fn wait_began(
        &mut self,
        device: &Device,
        at: Nanos,
        by: (Option<RequestSeq>, Actor),
    ) {
        let is_known = self.is_audit(device);
        let not_before = if is_known { at } else { self.session.began };
        self.stall_periods.wait_began(device, (not_before, at), by);
    }

    /// Since when the device has been stalled without a break, as sockets show or samples do.
    pub(super) fn stalled_since(&self, device: &Device, at: Nanos) -> Option<Nanos> {
        let period = self.stall_periods.current(device, at);
        let by_socket = period.map(|period| period.since);
        self.earliest_stall(device, by_socket, |stall| stall.start)
    }

    /// A time before which the device was not stalled, as far as it has been stalled without a break: nobody queued for it
    /// earlier.
    pub(super) fn not_stalled_before(&self, device: &Device, at: Nanos) -> Option<Nanos> {
        let period = self.stall_periods.current(device, at);
        let by_socket = period.map(|period| period.not_before);
        self.earliest_stall(device, by_socket, |stall| stall.not_before)
    }

    /// A time before which nobody queued for the device, not even while it was busy between two stalls.
    pub(super) fn not_queued_before(&self, device: &Device, at: Nanos) -> Option<Nanos> {
        let period = self.stall_periods.current(device, at);
        let by_socket = period.map(|period| period.not_queued_before);
        self.earliest_stall(device, by_socket, |stall| stall.not_before)
    }

    fn earliest_stall(
        &self,
        device: &Device,
        by_socket: Option<Nanos>,
        begin: impl Fn(&OpenSampledWait<'_>) -> Nanos,
    ) -> Option<Nanos> {
        let stalls = self.requests.all().flat_map(Request::open_stalls);
        let by_sample = stalls.filter(|stall| stall.sample.device == *device);
        by_sample.map(|stall| begin(&stall)).chain(by_socket).min()
    }

    /// The device that this is true of, if it is true of one alone.
    pub(super) fn only_device(&self, is_meant: impl Fn(&Device) -> bool) -> Option<Device> {
        let mut meant = self.devices.iter().filter(|device| is_meant(device));
        let one = meant.next()?;
        meant.next().is_none().then(|| one.clone())
    }

    /// What still waits when its request is over is cut there. It goes on, and is the device's outage then; where records were
    /// lost, it may be over.
    pub(super) fn cut_open_operations(&mut self, request: &mut Request) {
        for goid in request.goroutines() {
            let sockets = &mut self.sockets;
            let open = match request.stage {
                Stage::EndUnseen => sockets.end_wait_of(goid, request.end),
                _ => sockets.open_wait(goid, request.end),
            };
            if let Some(operation) = open {
                if request.stage == Stage::EndUnseen {
                    let device = operation.device.clone();
                    self.stall_periods.wait_ended(&device, request.end);
                }
                request.add_cut_operation(operation);
            }
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.requests.kept()
            + self.sockets.kept()
            + self.incidents.kept()
            + self.stall_periods.kept()
            + self.throughput.kept()
            + self.dues.kept()
            + self.identities.kept()
            + self.devices.len()
            + self.failures.len()
            + self.stalls.len()
            + self.paths.len()
    }
}
