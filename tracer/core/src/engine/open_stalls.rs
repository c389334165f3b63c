//! Stalls that are reported while they last.

use tracer_model::{
    Cause, Device, Finding, Nanos, Op, Operation, RequestInfo, RequestSeq, SocketId, Stalled,
};

use crate::{
    diagnose::{cause::cause_of, unascribed::covered},
    engine::{sampler::Sampler, step::Step, trackers::Trackers, verdicts::Verdicts},
    request::request::Request,
};

/// A stall of an audit device that goes on.
pub(super) struct LongStall {
    pub(super) request: RequestSeq,
    socket: Option<SocketId>,
    pub(super) device: Device,
    pub(super) op: Op,
    pub(super) start: Nanos,
    pub(super) cause: Cause,
}

/// So long a stall whose request is not known waits for a sample that may show it, ns: two samples and a slow machine. Else
/// it would be reported as another hang than the one that it turns out to be part of.
const ATTRIBUTION: Nanos = 300_000_000;

/// When the next stall is to be reported, if it goes on.
pub(super) fn due(trackers: &Trackers, sampler: &Sampler) -> Option<Nanos> {
    let by_socket = trackers.sockets.unreported_waits();
    let by_socket = by_socket.filter(|(_, device, _)| trackers.is_audit(device));
    let stalls = trackers.requests.all().flat_map(Request::open_stalls);
    let by_sample = stalls.filter(|stall| stall.confirmed && !stall.reported);
    let by_socket = by_socket.map(|(start, _, by)| {
        let request = trackers.requests.of_wait(by);
        due_of(start, request, trackers, sampler)
    });
    let by_sample = by_sample.map(|stall| stall.start + trackers.session.threshold);
    by_socket.chain(by_sample).min()
}

/// When a wait that began at `start` is to be reported.
fn due_of(
    start: Nanos,
    request: Option<RequestSeq>,
    trackers: &Trackers,
    sampler: &Sampler,
) -> Nanos {
    let due = start + trackers.session.threshold;
    let request = request.and_then(|seq| trackers.requests.get(seq));
    let is_known = request.is_none_or(|request| request.client.is_some());
    if is_known || !trackers.session.stacks || sampler.has_sampled_since(start) {
        due
    } else {
        due + ATTRIBUTION
    }
}

/// Reports the stalls that have passed the threshold.
pub(super) fn report(
    now: Nanos,
    trackers: &mut Trackers,
    (sampler, verdicts): (&Sampler, &mut Verdicts),
    step: &mut Step,
) {
    if due(trackers, sampler).is_none_or(|due| due > now) {
        return;
    }
    for stall in unreported(now, trackers, sampler) {
        report_one(now, stall, trackers, (sampler, verdicts), step);
    }
}

fn unreported(now: Nanos, trackers: &mut Trackers, sampler: &Sampler) -> Vec<LongStall> {
    let threshold = trackers.session.threshold;
    let is_long = |start: Nanos| now >= start + threshold;
    let waits = trackers.sockets.open_waits(now);
    let mut long = Vec::new();
    for (wait, reported) in waits {
        let request = trackers.requests.of_wait(wait.by);
        let is_due = now >= due_of(wait.start, request, trackers, sampler);
        if reported || !is_due || !trackers.is_audit(&wait.device) {
            continue;
        }
        match (request, wait.socket) {
            (Some(request), _) => long.push(LongStall::of_socket(&wait, request)),
            // What a sink does whose request is over is no hang.
            (None, Some(socket)) => trackers.sockets.mark_reported(socket),
            (None, None) => {}
        }
    }
    for request in trackers.requests.all() {
        let unreported = LongStall::of_samples(request).filter(|(_, reported)| !reported);
        long.extend(
            unreported
                .map(|(stall, _)| stall)
                .filter(|stall| is_long(stall.start)),
        );
    }
    long
}

fn report_one(
    now: Nanos,
    stall: LongStall,
    trackers: &mut Trackers,
    (sampler, verdicts): (&Sampler, &mut Verdicts),
    step: &mut Step,
) {
    let (waiting, estimated) = waiting(&stall.device, stall.request, trackers, sampler);
    let Some(request) = trackers.requests.get_mut(stall.request) else {
        return;
    };
    match stall.socket {
        Some(socket) => trackers.sockets.mark_reported(socket),
        None => request.mark_waits_reported(),
    }
    let hang = request.hang_ids.entry(stall.device.clone());
    let hang = *hang.or_insert_with(|| verdicts.next_hang());
    let (info, blocked) = so_far(request, &stall, now);
    step.findings.push(Finding::Stalled(Box::new(Stalled {
        hang,
        device: stall.device,
        start: stall.start,
        at: now,
        op: stall.op,
        cause: stall.cause,
        request: info,
        waiting,
        estimated,
        blocked,
    })));
}

/// How many requests queue behind this one, as last sampled; without stacks, all clients' requests under way, as an estimate.
pub(super) fn waiting(
    device: &Device,
    behind: RequestSeq,
    trackers: &Trackers,
    sampler: &Sampler,
) -> (u64, bool) {
    if trackers.session.stacks {
        return (sampler.queued(device, behind), false);
    }
    let requests = trackers.requests.all();
    let others = requests.filter(|r| r.seq != behind && r.is_silent());
    (others.count() as u64, true)
}

/// What is known of the request by now, and for how long the device has blocked it, ns.
pub(super) fn so_far(request: &Request, stall: &LongStall, now: Nanos) -> (RequestInfo, Nanos) {
    let before = request.operations.iter();
    let before = before.filter(|operation| operation.device == stall.device);
    let before = before.map(|operation| (operation.start, operation.end));
    // What was sampled of a goroutine that started another to dial is not over yet; sinks of both entries wait side by side.
    let sampled = request.sampled_on(&stall.device);
    let spans = before.chain(sampled).chain([(stall.start, now)]);
    let blocked = covered(spans.filter(|(start, _)| *start < now));
    let mut info = request.info();
    info.duration = now.saturating_sub(info.start);
    info.lower_bound = false;
    (info, blocked)
}

impl LongStall {
    pub(super) fn of_socket(wait: &Operation, request: RequestSeq) -> Self {
        Self {
            request,
            socket: wait.socket,
            device: wait.device.clone(),
            op: wait.op,
            start: wait.start,
            cause: cause_of(wait),
        }
    }

    /// Those of one request that samples found, and whether each has been reported.
    pub(super) fn of_samples(request: &Request) -> impl Iterator<Item = (Self, bool)> {
        // A single sample may have met a goroutine on the move.
        let confirmed = request.open_stalls().filter(|wait| wait.confirmed);
        confirmed.map(|wait| {
            let stall = Self {
                request: request.seq,
                socket: None,
                device: wait.sample.device.clone(),
                op: wait.sample.op,
                start: wait.start,
                cause: cause_of(&wait.operation()),
            };
            (stall, wait.reported)
        })
    }
}
