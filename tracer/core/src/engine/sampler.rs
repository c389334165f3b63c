//! When to sample the server's goroutines, and what a sample means.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;
use tracer_model::{
    Cause, Device, GoroutineSample, HandlerSample, Nanos, Op, Phase, RequestSeq, WaitReason,
};

use crate::{
    diagnose::cause::cause_of,
    engine::{sampled_devices::device_of, silence, trackers::Trackers},
    request::sampled::{Gone, SampleTimes},
    track::{
        sampled_wait::{LockHolder, StackSample},
        stall_periods::StallPeriod,
    },
};

/// What has been stalled for so long, ns, is sampled; for half of the threshold if that is less.
const STALLED: Nanos = 50_000_000;

/// Between two samples while something is stalled, ns: as exact as queueing can be timed. A sample takes milliseconds.
const INTERVAL: Nanos = 100_000_000;

/// An answer that has not come by then, ns, will not.
const UNANSWERED: Nanos = 5_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// When the last sample was taken.
    pub(super) at: Nanos,
    /// The last sample that said which requests wait for the active node.
    pub(super) forwarded_at: Nanos,
    /// When the next one was asked for, if it was.
    asked: Option<Nanos>,
    /// Which requests queued for each device in the last sample.
    queued: BTreeMap<Device, BTreeSet<RequestSeq>>,
}

/// One goroutine that was found, the request that it works for, and in which device it is.
struct Found<'a> {
    sample: &'a GoroutineSample,
    request: RequestSeq,
    device: Option<Device>,
    /// For which of the request's entries it works.
    phase: Option<Phase>,
    /// It waited nowhere before then.
    since: Nanos,
    queues: bool,
}

/// What goroutines wait behind that queue for a device.
struct QueueHead {
    holder: Option<LockHolder>,
    /// Since when the device has been stalled without a break.
    stalled_since: Option<Nanos>,
    /// Nobody queued for the device before then.
    not_queued_before: Option<Nanos>,
    /// The last stall there.
    last: Option<StallPeriod>,
}

impl QueueHead {
    /// Whether this goroutine, or the request that audits itself in it, was in the device, now or just before: a lock that it
    /// finds taken is another one, of what it calls there, and is free again soon. Not so if the goroutine works for a request of
    /// which another goroutine is in the device: an earlier entry's may outlive the wait for it.
    fn is_held_by(&self, found: &Found<'_>) -> bool {
        let is_requests = self
            .holder
            .is_some_and(|holder| holder.request == found.request);
        let was_in_it = self
            .last
            .is_some_and(|last| last.was_in_it(found.sample.goid));
        was_in_it || (is_requests && !is_sink(found.sample))
    }

    /// Whether another request is in the device, or the device is stalled.
    fn is_occupied(&self) -> bool {
        self.holder.is_some() || self.stalled_since.is_some()
    }
}

impl Sampler {
    /// How many requests queued for a device in the last sample, behind this one: the sink of its second entry may do so itself.
    pub(super) fn queued(&self, device: &Device, behind: RequestSeq) -> u64 {
        let queued = self.queued.get(device).into_iter().flatten();
        queued.filter(|request| **request != behind).count() as u64
    }

    /// Whether a sample was taken after this time.
    pub(super) fn has_sampled_since(&self, start: Nanos) -> bool {
        self.at > start
    }

    /// Whether it is time to sample; if so, the sample counts as asked for.
    pub(super) fn ask(&mut self, now: Nanos, trackers: &mut Trackers) -> bool {
        let is_due = self.due(trackers).is_some_and(|due| due <= now);
        if is_due {
            self.asked = Some(now);
            trackers.requests.finished.sample_begins();
        }
        is_due
    }

    /// When to sample next, if there is a reason to.
    pub(super) fn due(&self, trackers: &Trackers) -> Option<Nanos> {
        if !trackers.session.stacks {
            return None;
        }
        let last = self.asked.map_or(self.at, |asked| asked + UNANSWERED);
        let stalled = trackers.sockets.oldest_wait().map(|start| {
            // One short stall after the other is a long one to a request that queues.
            let oldest = trackers.stall_periods.oldest_open();
            let start = oldest.map_or(start, |since| since.min(start));
            let patience = STALLED.min(trackers.session.threshold / 2);
            (start + patience).max(last + INTERVAL)
        });
        let mut requests = trackers.requests.all();
        let waits = requests.any(|request| {
            // When it leaves the broker, its answer follows.
            let waits = request.is_in_broker() || request.is_forwarded();
            waits || request.open_waits().next().is_some()
        });
        let sampled = waits.then_some(last + INTERVAL);
        let silent = silence::due(trackers, last);
        let owed = trackers.dues.sample_due();
        let owed = owed.map(|due| due.max(last + INTERVAL));
        [stalled, sampled, silent, owed].into_iter().flatten().min()
    }

    /// Takes a sample. Goroutines in the code of an audit device also say which devices those are.
    pub(super) fn take(
        &mut self,
        at: Nanos,
        samples: &[GoroutineSample],
        handlers: Option<&[HandlerSample]>,
        trackers: &mut Trackers,
    ) {
        self.asked = None;
        let times = SampleTimes {
            began: trackers.session.began,
            before: std::mem::replace(&mut self.at, at),
            at,
        };
        let in_broker = attribute_handlers(samples, handlers, times, trackers);
        if handlers.is_some() {
            trackers.requests.note_outliving(samples, &in_broker);
        }
        let found = attribute(samples, &in_broker, times, trackers);
        let holders: BTreeMap<_, _> = found
            .iter()
            .filter_map(|found| Some((found.device.clone()?, holder(at, found, trackers)?)))
            .collect();
        self.queued.clear();
        // A request can queue only since another one was stalled: those first.
        let (queued, stalled): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.queues);
        for found in stalled {
            self.record(at, found, None, trackers);
        }
        let devices: BTreeSet<_> = queued.iter().filter_map(|f| f.device.as_ref()).collect();
        let heads: BTreeMap<_, _> = devices
            .into_iter()
            .map(|device| (device, queue_head(device, at, &holders, trackers)))
            .collect();
        for found in queued {
            let head = found.device.as_ref().and_then(|device| heads.get(device));
            self.record(at, found, head, trackers);
        }
        let goids: FxHashSet<_> = samples.iter().map(|sample| sample.goid).collect();
        trackers.requests.sampled_no_others(at, &goids);
        let broker = (&in_broker, handlers.is_some());
        let gone = Gone::of(samples);
        trackers.requests.sampled_in_broker(at, broker, &gone);
        trackers.requests.finished.sample_ends();
    }

    /// `head`: of a goroutine that queues.
    fn record(
        &mut self,
        at: Nanos,
        found: &Found<'_>,
        head: Option<&QueueHead>,
        trackers: &mut Trackers,
    ) {
        let Found {
            sample,
            request,
            phase,
            since,
            ..
        } = found;
        let Some(op) = op_of(found, head, trackers) else {
            return;
        };
        let device = match &found.device {
            Some(device) => device.clone(),
            None if op == Op::Lock => Device::unknown(),
            None => return,
        };
        if !trackers.is_audit(&device) && !device.is_unknown() {
            trackers.devices.insert(device.clone());
        }
        if op == Op::Lock {
            let queued = self.queued.entry(device.clone()).or_default();
            queued.insert(*request);
        }
        let holder = head.and_then(|head| head.holder);
        let stack = StackSample {
            op,
            device,
            phase: *phase,
            since: sample.since,
            frames: sample.frames.clone(),
            holder: holder.filter(|h| h.request != *request && h.was_there_after(sample.since)),
            stalled_since: head.and_then(|head| head.stalled_since),
            not_queued_before: head.and_then(|head| head.not_queued_before),
        };
        let of = (*request, sample.goid);
        trackers.requests.sampled(at, of, *since, stack);
    }
}

/// The requests' own goroutines that are in the broker. Where the sampler cannot tell, those are that a sink works for
/// while they live.
fn attribute_handlers(
    samples: &[GoroutineSample],
    handlers: Option<&[HandlerSample]>,
    times: SampleTimes,
    trackers: &mut Trackers,
) -> FxHashSet<u64> {
    let Some(handlers) = handlers else {
        let gone = Gone::of(samples);
        let of_sinks = samples.iter().map(|s| s.request.unwrap_or(s.goid));
        return of_sinks.filter(|goid| !gone.is_dead(*goid)).collect();
    };
    for handler in handlers {
        let is_outdated = trackers
            .requests
            .finished
            .is_outdated(handler.goid, times.at);
        if !is_outdated {
            trackers.requests.of_handler(handler, times);
        }
    }
    handlers.iter().map(|handler| handler.goid).collect()
}

fn attribute<'a>(
    samples: &'a [GoroutineSample],
    in_broker: &FxHashSet<u64>,
    times: SampleTimes,
    trackers: &mut Trackers,
) -> Vec<Found<'a>> {
    let mut meant = BTreeMap::new();
    let found = samples.iter().filter_map(|sample| {
        if trackers
            .requests
            .finished
            .is_outdated(sample.goid, times.at)
        {
            return None;
        }
        let was_found = is_sink(sample) && trackers.requests.of(sample.goid).is_some();
        let request = trackers.requests.of_sample(sample, times)?;
        let of = trackers.requests.get(request);
        let is_new = !was_found && of.is_some_and(|request| !request.has_seen(sample.goid));
        let of = trackers.requests.get_mut(request);
        let phase = of.and_then(|request| request.phase_of(sample, is_new, in_broker));
        trackers.sockets.confirm_wait(times.at, sample);
        Some(Found {
            sample,
            request,
            phase,
            device: device_of(sample, samples, &mut meant, trackers),
            since: if is_new { times.before } else { 0 },
            queues: queues(sample),
        })
    });
    found.collect()
}

/// Whether the goroutine writes for another one, which has the request.
fn is_sink(sample: &GoroutineSample) -> bool {
    sample.request.is_some_and(|handler| handler != sample.goid)
}

/// Whether the goroutine queues for the device. Recordings of before format 2 say `other` of those that queue by another
/// primitive than a mutex; the innermost frame that says anything is a method of the device then, and none that reads its
/// salt.
fn queues(sample: &GoroutineSample) -> bool {
    match sample.place {
        WaitReason::Lock => true,
        WaitReason::Other => {
            let innermost = sample.frames.first().map_or("", String::as_str);
            let is_of_device = innermost.contains("Sink).") || innermost.contains("Backend).");
            is_of_device && !innermost.contains("Salt")
        }
        _ => false,
    }
}

/// The request that is in the device, and why it is there for so long.
fn holder(at: Nanos, found: &Found<'_>, trackers: &Trackers) -> Option<LockHolder> {
    if found.queues {
        return None;
    }
    let cause = if found.sample.place == WaitReason::Resolve {
        Cause::Resolver
    } else {
        let wait = trackers.sockets.open_wait(found.sample.goid, at);
        wait.as_ref().map_or(Cause::Unknown, cause_of)
    };
    Some(LockHolder {
        request: found.request,
        cause,
        until: None,
    })
}

/// The request that is in a device for which others queue, or was just before, where the sample found none there.
fn queue_head(
    device: &Device,
    at: Nanos,
    holders: &BTreeMap<Device, LockHolder>,
    trackers: &Trackers,
) -> QueueHead {
    let last = trackers.stall_periods.current(device, at);
    let last_holder = || {
        Some(LockHolder {
            request: last?.by?,
            cause: Cause::Unknown,
            until: last?.ended(),
        })
    };
    QueueHead {
        holder: holders.get(device).copied().or_else(last_holder),
        stalled_since: trackers.not_stalled_before(device, at),
        not_queued_before: trackers.not_queued_before(device, at),
        last,
    }
}

/// What the goroutine waits for, unless its socket shows that better.
fn op_of(found: &Found<'_>, head: Option<&QueueHead>, trackers: &Trackers) -> Option<Op> {
    let sample = found.sample;
    let request = trackers.requests.get(found.request)?;
    let is_sink = is_sink(sample);
    let at_socket = trackers.sockets.is_waiting(sample.goid);
    // A request that audits itself does one thing at a time, if perhaps in a goroutine that dials for it.
    let is_busy = at_socket || (!is_sink && request.has_open_operations());
    let is_own = head.is_some_and(|head| head.is_held_by(found));
    match sample.place {
        WaitReason::Lock if !at_socket && !is_own => Some(Op::Lock),
        WaitReason::Resolve if !at_socket => Some(Op::Resolve),
        WaitReason::Connect if !request.has_open_operations() => Some(Op::Connect),
        WaitReason::Open if !is_busy => Some(Op::Connect),
        WaitReason::Write | WaitReason::Answer if !is_busy => Some(Op::Write),
        WaitReason::Other if found.queues && !at_socket && !is_own => {
            head.is_some_and(QueueHead::is_occupied).then_some(Op::Lock)
        }
        _ => None,
    }
}
