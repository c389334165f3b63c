//! From what a finished request did on audit devices to hangs and refusals.

use crate::cause::cause_of;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::request::Request;
use tracer_model::{
    Attribution, Hang, NEGLIGIBLE_WAIT, Op, Operation, Outcome, Phase, Refusal, RequestInfo, Stall,
};
use tracer_model::{Device, EntryKind, Nanos};

/// The server tries each entry twice: what it has, then a new connection
/// (`builtin/audit/socket/backend.go`, `LogRequest`).
const ATTEMPTS: u32 = 2;

/// What one device did to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It held it up.
    Hang(Box<Hang>),
    /// It failed fast.
    Refusal(Box<Refusal>),
}

impl Verdict {
    /// Which device.
    pub fn device(&self) -> &Device {
        match self {
            Verdict::Hang(hang) => &hang.device,
            Verdict::Refusal(refusal) => &refusal.device,
        }
    }

    /// Which request.
    pub fn request_mut(&mut self) -> &mut RequestInfo {
        match self {
            Verdict::Hang(hang) => &mut hang.request,
            Verdict::Refusal(refusal) => &mut refusal.request,
        }
    }

    /// What it waited for; nothing, where it was refused.
    pub fn stalls_mut(&mut self) -> &mut [Stall] {
        match self {
            Verdict::Hang(hang) => &mut hang.stalls,
            Verdict::Refusal(_) => &mut [],
        }
    }
}

/// Judges each device that the request used.
pub fn judge(request: &Request, threshold: Nanos) -> Vec<Verdict> {
    if !request.operations.iter().any(is_stall) {
        // As most: what follows looks at each operation for each device.
        return Vec::new();
    }
    devices(request)
        .filter_map(|device| judge_device(request, device, threshold))
        .collect()
}

/// Each once, in the order in which the request used them.
fn devices(request: &Request) -> impl Iterator<Item = &Device> {
    let mut seen = FxHashSet::default();
    let devices = request.operations.iter().map(|operation| &operation.device);
    devices.filter(move |device| seen.insert(*device))
}

fn judge_device(request: &Request, device: &Device, threshold: Nanos) -> Option<Verdict> {
    let stalls = stalls(request, device);
    let duration = stalls.iter().map(|stall| stall.duration).sum();
    let first = stalls.first()?;
    if duration >= threshold {
        let last = stalls.iter().map(|s| s.start + s.duration).max();
        return Some(Verdict::Hang(Box::new(Hang {
            id: request.hangs.get(device).copied(),
            start: first.start,
            end: last.unwrap_or(first.start),
            duration,
            device: device.clone(),
            request: RequestInfo {
                tie: tie(request, &stalls),
                ..describe(request)
            },
            stalls,
        })));
    }
    let has_failed = |stall: &&Stall| stall.outcome.is_some_and(Outcome::is_failure);
    let failed = stalls.iter().find(has_failed)?;
    Some(Verdict::Refusal(Box::new(Refusal {
        device: device.clone(),
        request: describe(request),
        start: failed.start,
        duration,
        cause: failed.cause,
        errno: failed.errno,
        evidence: failed.evidence.clone(),
        taken_elsewhere: false,
    })))
}

fn tie(request: &Request, stalls: &[Stall]) -> Option<Attribution> {
    if stalls.iter().all(|stall| stall.op == Op::Lock) {
        return Some(Attribution::Queued);
    }
    request.tie()
}

/// Whether a request has been held up, or is, so that it is a hang as it seems.
pub fn is_held_up(request: &Request, threshold: Nanos) -> bool {
    let waited: Nanos = request.operations.iter().map(Operation::duration).sum();
    waited >= threshold || request.waits() || request.open_waits().next().is_some()
}

/// Whether a request has both its entries behind it, on every device it used.
pub fn is_done(request: &Request) -> bool {
    if request.waits() || request.open_waits().next().is_some() {
        return false;
    }
    let mut devices: FxHashMap<&Device, Progress> = FxHashMap::default();
    for operation in &request.operations {
        let progress = devices.entry(&operation.device).or_default();
        progress.phase_of(operation, false);
    }
    devices.values().all(|progress| progress.entries >= 2)
}

/// The waits of this request on this device, each with the entry it was for.
fn stalls(request: &Request, device: &Device) -> Vec<Stall> {
    let mut progress = Progress::default();
    let mut stalls = Vec::new();
    // Whether an entry about the answer was written before, to whichever device.
    let mut answering = false;
    for operation in &request.operations {
        if operation.device == *device {
            let phase = progress.phase_of(operation, answering);
            if is_stall(operation) {
                stalls.push(stall(operation, phase));
            }
        }
        answering |= is_about_the_answer(operation);
    }
    stalls
}

/// Whether it held anybody up, or failed.
fn is_stall(operation: &Operation) -> bool {
    operation.failed() || operation.duration() >= NEGLIGIBLE_WAIT
}

fn stall(operation: &Operation, phase: Phase) -> Stall {
    Stall {
        op: operation.op,
        phase,
        start: operation.start,
        duration: operation.duration(),
        uncertainty: operation.uncertainty,
        outcome: operation.outcome,
        errno: operation.errno,
        cause: cause_of(operation),
        evidence: operation.evidence.clone(),
        behind: operation.behind,
        blocked_by: None,
        inferred: operation.inferred,
    }
}

fn is_about_the_answer(operation: &Operation) -> bool {
    let entry = operation.entry.as_ref();
    entry.is_some_and(|entry| entry.kind == Some(EntryKind::Response))
}

/// How far a request is with its two entries on one device.
#[derive(Default)]
struct Progress {
    entries: u32,
    failures: u32,
}

impl Progress {
    /// The entry that this operation is for: what it says itself, else what was seen on another
    /// device, else what the attempts so far leave.
    fn phase_of(&mut self, operation: &Operation, answering: bool) -> Phase {
        let shown = operation.phase == Some(Phase::Response);
        if is_about_the_answer(operation) || shown || answering {
            self.next_entry_is(1);
        }
        let phase = if self.entries == 0 {
            Phase::Request
        } else {
            Phase::Response
        };
        self.take(operation);
        phase
    }

    fn next_entry_is(&mut self, entry: u32) {
        if self.entries < entry {
            self.entries = entry;
            self.failures = 0;
        }
    }

    fn take(&mut self, operation: &Operation) {
        if operation.failed() {
            self.failures += 1;
        }
        let written = operation.op == Op::Write && operation.outcome == Some(Outcome::Ok);
        if written || self.failures == ATTEMPTS {
            self.next_entry_is(self.entries + 1);
        }
    }
}

/// A request, as far as known.
pub fn describe(request: &Request) -> RequestInfo {
    let entry = request.entry();
    RequestInfo {
        id: entry.and_then(|e| e.id.clone()),
        operation: entry.and_then(|e| e.operation.clone()),
        path: entry.and_then(|e| e.path.clone()),
        client: request.client,
        http_version: request
            .client
            .map(|_| if request.multiplexed { "2" } else { "1.1" }),
        start: request.start,
        duration: request.end.saturating_sub(request.start),
        lower_bound: !request.is_whole(),
        tie: request.tie(),
        status: request.status,
    }
}
