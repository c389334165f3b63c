//! From what a finished request did on audit devices to hangs and refusals.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    cause::Cause,
    finding::{Hang, INSTANT, Refusal, RequestInfo, Stall},
    operation::{Op, Operation, Outcome, Phase},
    request::{Request, Tie},
};
use crate::{
    audit::entry::EntryKind,
    event::{Device, Nanos},
};

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
    })))
}

fn tie(request: &Request, stalls: &[Stall]) -> Option<Tie> {
    if stalls.iter().all(|stall| stall.op == Op::Lock) {
        return Some(Tie::Queued);
    }
    request.tie()
}

/// Whether a request has been held up, or is, so that it is a hang as it seems.
pub fn is_held_up(request: &Request, threshold: Nanos) -> bool {
    let waited: Nanos = request.operations.iter().map(Operation::duration).sum();
    waited >= threshold || request.waits() || request.open_waits().next().is_some()
}

/// A wait whose end was not seen, since that was lost, ends where its goroutine was last seen waiting. It was over before
/// what else was seen: a goroutine waits for one thing at a time, and of a request one goroutine is in a device.
pub fn end_unseen(operations: &mut [Operation]) {
    let is_unseen = |operation: &Operation| operation.outcome.is_none() && operation.op != Op::Lock;
    if !operations.iter().any(is_unseen) {
        return;
    }
    let spans: Vec<_> = operations.iter().map(Span::of).collect();
    let unseen = operations
        .iter_mut()
        .enumerate()
        .filter(|(_, operation)| is_unseen(operation));
    for (index, unseen) in unseen {
        let own = Span::of(unseen);
        let others = spans
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        for (_, other) in others.filter(|(_, other)| other.ends(&own)) {
            if unseen.start < other.start {
                unseen.end = unseen.end.min(other.start);
            } else if unseen.start < other.end && other.is_seen {
                unseen.end = unseen.start;
            }
        }
    }
}

/// On one device a request waits for one thing at a time. When it began to queue, and ceased to, is
/// known to a look; and a sink that it has ceased to wait for may queue on beside that of the next
/// entry. So queueing gives way to what was seen to the nanosecond, and to queueing that began later.
pub fn queue_once(operations: &mut [Operation]) {
    if operations.iter().all(|operation| operation.op != Op::Lock) {
        return;
    }
    let spans: Vec<_> = operations.iter().map(Span::of).collect();
    for lock in operations.iter_mut().filter(|o| o.op == Op::Lock) {
        let own = Span::of(lock);
        for other in spans.iter().filter(|other| other.concerns(&own)) {
            own_gives_way(lock, other);
        }
    }
}

/// When something was waited for in a device, and by whom.
struct Span {
    device: Device,
    by: Option<u64>,
    op: Op,
    start: Nanos,
    end: Nanos,
    /// Whether its end was.
    is_seen: bool,
}

impl Span {
    fn of(operation: &Operation) -> Self {
        Self {
            device: operation.device.clone(),
            by: operation.by.goid,
            op: operation.op,
            start: operation.start,
            end: operation.end,
            is_seen: operation.outcome.is_some(),
        }
    }

    /// Whether a wait with an unknown end cannot have been there at the same time.
    fn ends(&self, unseen: &Self) -> bool {
        let by_another = self.op != Op::Lock || self.by == unseen.by;
        self.device == unseen.device && by_another
    }

    /// Whether a wait for the lock has to give way to it where both are.
    fn concerns(&self, lock: &Self) -> bool {
        let is_sure = self.op != Op::Lock && self.by != lock.by;
        let is_later = self.op == Op::Lock && self.start > lock.start;
        self.device == lock.device && (is_sure || is_later)
    }
}

fn own_gives_way(lock: &mut Operation, other: &Span) {
    if lock.start < other.start {
        lock.end = lock.end.min(other.start);
    } else if lock.start < other.end {
        lock.start = other.end.min(lock.end);
    }
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
    operation.failed() || operation.duration() >= INSTANT
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
        cause: Cause::of(operation),
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
