//! From what a finished request did on audit devices to hangs and refusals.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use tracer_model::{
    Attribution, Device, FailureReason, Hang, NEGLIGIBLE_WAIT, Nanos, Op, Operation, Outcome,
    Refusal, RequestInfo, Stall, Transport,
};

use crate::diagnose::{
    cause::cause_of,
    phases::{Progress, is_about_the_answer},
    untaken::{Untaken, untaken},
};

/// A request of which nothing more is to come.
pub(crate) struct Case<'a> {
    pub(crate) info: &'a RequestInfo,
    /// In the order in which they ended.
    pub(crate) operations: &'a [Operation],
    /// The hangs that were reported while they lasted.
    pub(crate) hang_ids: &'a BTreeMap<Device, u64>,
}

/// What one device did to one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It blocked the request.
    Hang(Box<Hang>),
    /// It failed at once.
    Refusal(Box<Refusal>),
}

impl Verdict {
    pub(crate) fn device(&self) -> &Device {
        match self {
            Verdict::Hang(hang) => &hang.device,
            Verdict::Refusal(refusal) => &refusal.device,
        }
    }

    pub(crate) fn request_mut(&mut self) -> &mut RequestInfo {
        match self {
            Verdict::Hang(hang) => &mut hang.request,
            Verdict::Refusal(refusal) => &mut refusal.request,
        }
    }

    /// What the request waited for; nothing, where it was refused.
    pub(crate) fn stalls_mut(&mut self) -> &mut [Stall] {
        match self {
            Verdict::Hang(hang) => &mut hang.stalls,
            Verdict::Refusal(_) => &mut [],
        }
    }
}

/// Judges each device that the request used, in the order of first use.
pub(crate) fn judge(case: &Case<'_>, threshold: Nanos) -> Vec<Verdict> {
    if !case.operations.iter().any(is_stall) {
        // Nearly all requests: what follows reads every operation once for each device.
        return Vec::new();
    }
    let mut seen = FxHashSet::default();
    let devices = case.operations.iter().map(|operation| &operation.device);
    let devices = devices.filter(|device| seen.insert(*device));
    devices
        .filter_map(|device| judge_device(case, device, threshold))
        .collect()
}

fn judge_device(case: &Case<'_>, device: &Device, threshold: Nanos) -> Option<Verdict> {
    let mut stalls = stalls(case.operations, device);
    let not_taken = untaken(case.operations, device);
    mark_dropped(&mut stalls, &not_taken);
    let duration = stalls.iter().map(|stall| stall.duration).sum();
    let first = stalls.first()?;
    if duration >= threshold {
        let last = stalls.iter().map(|s| s.start + s.duration).max();
        return Some(Verdict::Hang(Box::new(Hang {
            id: case.hang_ids.get(device).copied(),
            start: first.start,
            end: last.unwrap_or(first.start),
            duration,
            device: device.clone(),
            request: RequestInfo {
                tie: attribution(case.info, &stalls),
                ..case.info.clone()
            },
            stalls,
        })));
    }
    // A retry went well. A datagram that is sent shows nothing, and the error was that of one before.
    if not_taken.is_empty() && device.transport != Transport::Udp {
        return None;
    }
    // The last attempt shows why the entry was not taken.
    let failures = || {
        case.operations
            .iter()
            .filter(|o| o.device == *device && o.failed())
    };
    let first = failures().next()?;
    let failed = failures().next_back()?;
    Some(Verdict::Refusal(Box::new(Refusal {
        device: device.clone(),
        request: case.info.clone(),
        start: first.start,
        duration,
        cause: cause_of(failed),
        errno: failed.errno,
        http_status: failed.reported.and_then(FailureReason::status),
        evidence: failed.evidence.clone(),
        before: 0,
        taken_elsewhere: is_taken_elsewhere(case, device),
        inferred: false,
    })))
}

/// Vault answers with anything but 5xx only if a device has taken the entry.
fn is_taken_elsewhere(case: &Case<'_>, device: &Device) -> bool {
    let is_taken = |operation: &Operation| {
        operation.device != *device
            && operation.op == Op::Write
            && operation.outcome == Some(Outcome::Ok)
    };
    case.info.status.is_some_and(|status| status < 500) || case.operations.iter().any(is_taken)
}

fn attribution(info: &RequestInfo, stalls: &[Stall]) -> Option<Attribution> {
    if stalls.iter().all(|stall| stall.op == Op::Lock) {
        return Some(Attribution::Queued);
    }
    info.tie
}

/// The waits on this device, each with the entry it was for.
fn stalls(operations: &[Operation], device: &Device) -> Vec<Stall> {
    let mut progress = Progress::default();
    let mut stalls = Vec::new();
    // Whether an entry about the answer was written before, to any device.
    let mut answering = false;
    for operation in operations {
        if operation.device == *device {
            let phase = progress.phase_of(operation, answering);
            if is_stall(operation) {
                stalls.push(Stall {
                    op: operation.op,
                    phase,
                    start: operation.start,
                    duration: operation.duration(),
                    uncertainty: operation.uncertainty,
                    outcome: operation.outcome,
                    errno: operation.errno,
                    cause: cause_of(operation),
                    evidence: operation.evidence.clone(),
                    behind: operation.blocked_by,
                    blocked_by: None,
                    inferred: operation.inferred,
                    dropped: false,
                });
            }
        }
        answering |= is_about_the_answer(operation);
    }
    stalls
}

/// The wait in the queue after which an entry was given up.
fn mark_dropped(stalls: &mut [Stall], untaken: &[Untaken]) {
    for entry in untaken.iter().filter(|entry| !entry.tried) {
        let last = stalls.iter_mut().rev().find(|s| s.phase == entry.phase);
        if let Some(last) = last {
            last.dropped = true;
        }
    }
}

/// Whether it blocked its request, or failed.
fn is_stall(operation: &Operation) -> bool {
    operation.failed() || operation.duration() >= NEGLIGIBLE_WAIT
}
