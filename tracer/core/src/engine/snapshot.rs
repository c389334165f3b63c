//! The state of the server at one moment: what the live view and the metrics show. Findings say what is over.

use std::collections::BTreeSet;

use tracer_model::{
    BufferedTotals, Cause, Condition, Device, DeviceSnapshot, Event, Nanos, Op, OpenStall,
    RequestSeq, Snapshot, Summary, Transport,
};

use crate::{
    engine::{
        open_stalls::{self, LongStall},
        sampler::Sampler,
        trackers::Trackers,
    },
    track::throughput::{DeviceThroughput, Throughput},
};

/// What the kernel side has buffered since the core was last fed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BufferedActivity {
    /// Counts.
    pub totals: BufferedTotals,
    /// Some of the writes to audit sockets, the newest among them, in order.
    pub latest: Vec<Event>,
}

/// The state, if all that happened has been fed.
pub(super) fn snapshot(
    at: Nanos,
    trackers: &Trackers,
    sampler: &Sampler,
    totals: &Summary,
) -> Snapshot {
    let stalls = open_stalls(at, trackers);
    let mut blocked: BTreeSet<_> = stalls.iter().map(|(request, _)| *request).collect();
    blocked.extend(queueing(trackers));
    let under_way = trackers.requests.all().filter(|r| r.is_of_a_client());
    Snapshot {
        at,
        totals: Summary {
            end: at,
            requests: trackers.requests.counts.seen(),
            requests_at_least: trackers.requests.counts.is_at_least(),
            ..totals.clone()
        },
        under_way: Some(under_way.count() as u64),
        blocked: blocked.len() as u64,
        devices: device_snapshots(at, &stalls, trackers, sampler),
        stalls: stalls.into_iter().map(|(_, stall)| stall).collect(),
    }
}

/// The state while the kernel side buffers, since the core was last fed: nothing stalls then.
pub(super) fn snapshot_while_buffering(
    at: Nanos,
    buffered: &BufferedActivity,
    trackers: &Trackers,
    totals: &Summary,
) -> Snapshot {
    let BufferedTotals {
        requests,
        at_least,
        audit_writes,
        streamed,
        ..
    } = buffered.totals;
    let mut throughput = trackers.throughput.clone();
    throughput.entries(audit_writes);
    let mut seen: BTreeSet<Device> = BTreeSet::new();
    for event in &buffered.latest {
        seen.extend(event.socket().and_then(|s| trackers.identities.of(s)));
        let is_tcp = |s: &tracer_model::Socket| s.transport == Transport::Tcp;
        if event.socket().is_some_and(is_tcp) {
            throughput.observe(event, &trackers.identities);
        }
    }
    let known = trackers.devices.iter().cloned().chain(seen.iter().cloned());
    let known: BTreeSet<_> = known.collect();
    let devices = known.into_iter().map(|device| {
        let condition = seen.contains(&device).then_some(Condition::Works);
        let before = condition_of(&device, &throughput, trackers);
        DeviceSnapshot {
            condition: condition.or(before.map(|(condition, ..)| condition)),
            since: before.and_then(|(_, since, _)| since),
            ..device_snapshot(device, &throughput)
        }
    });
    Snapshot {
        at,
        totals: Summary {
            end: at,
            requests: trackers.requests.counts.seen() + requests,
            requests_at_least: trackers.requests.counts.is_at_least() || at_least,
            audit_writes: totals.audit_writes + audit_writes,
            events: totals.events + streamed,
            ..totals.clone()
        },
        devices: devices.collect(),
        ..Snapshot::default()
    }
}

/// Stalls of audit devices that go on, by the requests that they block.
fn open_stalls(at: Nanos, trackers: &Trackers) -> Vec<(RequestSeq, OpenStall)> {
    let waits = trackers.sockets.open_waits(at).into_iter();
    let by_socket = waits.filter_map(|(wait, _)| {
        let request = trackers.requests.of_wait(wait.by)?;
        Some(LongStall::of_socket(&wait, request))
    });
    let of_samples = |request| LongStall::of_samples(request).map(|(stall, _)| stall);
    let by_sample = trackers.requests.all().flat_map(of_samples);
    let stalls = by_socket.chain(by_sample).filter_map(|stall| {
        let is_audit = trackers.is_audit(&stall.device);
        let open = is_audit
            .then(|| open_stall(at, &stall, trackers))
            .flatten()?;
        Some((stall.request, open))
    });
    let threshold = trackers.session.threshold;
    let mut stalls: Vec<_> = stalls
        .filter(|(_, stall)| stall.blocked >= threshold)
        .collect();
    stalls.sort_by_key(|(request, stall)| (stall.start, *request));
    stalls
}

fn open_stall(at: Nanos, stall: &LongStall, trackers: &Trackers) -> Option<OpenStall> {
    let request = trackers.requests.get(stall.request)?;
    let (info, blocked) = open_stalls::so_far(request, stall, at);
    Some(OpenStall {
        hang: request.hang_ids.get(&stall.device).copied(),
        device: stall.device.clone(),
        start: stall.start,
        op: stall.op,
        cause: stall.cause,
        request: info,
        blocked,
    })
}

/// Requests that wait for an audit device's lock.
fn queueing(trackers: &Trackers) -> impl Iterator<Item = RequestSeq> {
    let queue = trackers.requests.all().filter(|request| {
        let mut waits = request.open_waits();
        waits.any(|w| w.sample.op == Op::Lock && trackers.is_audit(&w.sample.device))
    });
    queue.map(|request| request.seq)
}

fn device_snapshots(
    at: Nanos,
    stalls: &[(RequestSeq, OpenStall)],
    trackers: &Trackers,
    sampler: &Sampler,
) -> Vec<DeviceSnapshot> {
    let known: BTreeSet<_> = trackers.devices.iter().collect();
    let states = known.into_iter().map(|device| {
        let mut state = device_snapshot(device.clone(), &trackers.throughput);
        let mut its = stalls.iter().filter(|(_, stall)| stall.device == *device);
        if let Some((request, stall)) = its.next() {
            let since = trackers.stalled_since(device, at).unwrap_or(stall.start);
            state.condition = Some(Condition::Stalled);
            state.since = Some(since);
            state.cause = Some(stall.cause);
            (state.waiting, state.estimated) =
                open_stalls::waiting(device, *request, trackers, sampler);
        } else if let Some((condition, since, cause)) =
            condition_of(device, &trackers.throughput, trackers)
        {
            state.condition = Some(condition);
            state.since = since;
            state.cause = cause;
        }
        state
    });
    states.collect()
}

/// The condition of a device that blocks nobody, since when, and why.
fn condition_of(
    device: &Device,
    throughput: &Throughput,
    trackers: &Trackers,
) -> Option<(Condition, Option<Nanos>, Option<Cause>)> {
    if let Some(incident) = trackers.incidents.open_of(device) {
        let (since, cause) = (incident.start, incident.cause);
        return Some((Condition::Failing, Some(since), Some(cause)));
    }
    if let Some(since) = trackers.sockets.unacknowledged_since(device) {
        return Some((Condition::Filling, Some(since), None));
    }
    let taken = throughput.devices().get(device).copied()?;
    Some(match taken.closed {
        Some(at) => (Condition::Closed, Some(at), None),
        None => (Condition::Works, None, None),
    })
}

/// What the device took.
fn device_snapshot(device: Device, throughput: &Throughput) -> DeviceSnapshot {
    let devices = throughput.devices();
    let taken = devices.get(&device).copied();
    let is_alone = devices.len() == 1;
    let all_seen = throughput.together() == 0;
    let entries = |taken: &DeviceThroughput| match (all_seen, is_alone) {
        (true, _) => Some(taken.entries),
        (_, true) => Some(taken.entries + throughput.together()),
        (false, false) => None,
    };
    DeviceSnapshot {
        condition: None,
        since: None,
        cause: None,
        buffer: taken.and_then(|taken| taken.buffer),
        entries: taken.and_then(entries),
        bytes: taken
            .filter(|taken| taken.in_sequence || all_seen)
            .map(|taken| taken.bytes),
        waiting: 0,
        estimated: false,
        device,
    }
}
