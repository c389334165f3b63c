//! How things stand at one moment: what a live view and metrics show. Findings tell what is over.

use std::collections::BTreeSet;
use tracer_model::Condition;
use tracer_model::DeviceSnapshot;
use tracer_model::OpenStall;
use tracer_model::Snapshot;

use crate::{
    Core, hang,
    open_stalls::Long,
    throughput::{Taken, Throughput},
};
pub use tracer_model::SendBuffer;
use tracer_model::{BufferedTotals, Device, Event, Nanos, Transport};
use tracer_model::{Cause, Op, Operation, RequestInfo, RequestSeq, Summary};

/// What the kernel side has held back since the core was last told anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BufferedActivity {
    /// In numbers.
    pub routine: BufferedTotals,
    /// Some of the writes to audit sockets, the newest among them, in order.
    pub latest: Vec<Event>,
}

impl Core {
    /// How things stand, if all that happened has been told.
    pub fn snapshot(&self, at: Nanos) -> Snapshot {
        let stalls = self.stalls(at);
        let mut held_up: BTreeSet<_> = stalls.iter().map(|(serial, _)| *serial).collect();
        held_up.extend(self.queueing());
        let under_way = self.requests.all().filter(|r| r.is_of_a_client());
        Snapshot {
            at,
            totals: Summary {
                end: at,
                requests: self.requests.seen(),
                ..self.totals.clone()
            },
            under_way: Some(under_way.count() as u64),
            held_up: held_up.len() as u64,
            devices: self.device_states(at, &stalls),
            stalls: stalls.into_iter().map(|(_, stall)| stall).collect(),
        }
    }

    /// The same while routine is held back, since the core was told last: then nothing stalls.
    pub fn snapshot_while_buffering(&self, at: Nanos, buffered: &BufferedActivity) -> Snapshot {
        let BufferedTotals {
            requests,
            at_least,
            audit_writes,
            told,
            ..
        } = buffered.routine;
        let mut written = self.written.clone();
        written.entries(audit_writes);
        let mut seen: BTreeSet<Device> = BTreeSet::new();
        for event in &buffered.latest {
            seen.extend(event.socket().and_then(Device::of));
            if event
                .socket()
                .is_some_and(|s| s.transport == Transport::Tcp)
            {
                written.on(event);
            }
        }
        let known = self.devices.iter().cloned().chain(seen.iter().cloned());
        let known: BTreeSet<_> = known.collect();
        let devices = known.into_iter().map(|device| {
            let condition = seen.contains(&device).then_some(Condition::Works);
            let before = self.condition(&device, &written);
            DeviceSnapshot {
                condition: condition.or(before.map(|(condition, ..)| condition)),
                since: before.and_then(|(_, since, _)| since),
                ..device_snapshot(device, &written)
            }
        });
        Snapshot {
            at,
            totals: Summary {
                end: at,
                requests: self.requests.seen() + requests,
                requests_at_least: self.totals.requests_at_least || at_least,
                audit_writes: self.totals.audit_writes + audit_writes,
                events: self.totals.events + told,
                ..self.totals.clone()
            },
            devices: devices.collect(),
            ..Snapshot::default()
        }
    }

    /// Stalls of audit devices that go on, by the requests they hold up.
    fn stalls(&self, at: Nanos) -> Vec<(RequestSeq, OpenStall)> {
        let waits = self.sockets.open_waits(at).into_iter();
        let by_socket = waits.filter_map(|(wait, _)| {
            let request = self.requests.whose_wait(wait.by)?;
            Some(Long::of_socket(&wait, request))
        });
        let of_looks = |request| Long::of_looks(request).map(|(long, _)| long);
        let by_look = self.requests.all().flat_map(of_looks);
        let stalls = by_socket.chain(by_look).filter_map(|long| {
            let is_audit = self.devices.contains(&long.device);
            let stall = is_audit.then(|| self.open_stall(at, &long)).flatten()?;
            Some((long.request, stall))
        });
        let mut stalls: Vec<_> = stalls
            .filter(|(_, stall)| stall.blocked >= self.session.threshold)
            .collect();
        stalls.sort_by_key(|(serial, stall)| (stall.start, *serial));
        stalls
    }

    fn open_stall(&self, at: Nanos, long: &Long) -> Option<OpenStall> {
        let request = self.requests.get(long.request)?;
        if request.is_outlived() {
            return None;
        }
        let (info, blocked) = so_far(request, long, at);
        Some(OpenStall {
            hang: request.hangs.get(&long.device).copied(),
            device: long.device.clone(),
            start: long.start,
            op: long.op,
            cause: long.cause,
            request: info,
            blocked,
        })
    }

    /// Requests that wait for an audit device's lock.
    fn queueing(&self) -> impl Iterator<Item = RequestSeq> {
        let queue = self.requests.all().filter(|request| {
            let mut waits = request.open_waits();
            !request.is_outlived()
                && waits.any(|w| w.look.op == Op::Lock && self.devices.contains(&w.look.device))
        });
        queue.map(|request| request.serial)
    }

    fn device_states(&self, at: Nanos, stalls: &[(RequestSeq, OpenStall)]) -> Vec<DeviceSnapshot> {
        let known: BTreeSet<_> = self.devices.iter().collect();
        let states = known.into_iter().map(|device| {
            let mut state = device_snapshot(device.clone(), &self.written);
            let mut its = stalls.iter().filter(|(_, stall)| stall.device == *device);
            if let Some((serial, stall)) = its.next() {
                let since = self.stalled_since(device, at).unwrap_or(stall.start);
                state.condition = Some(Condition::Stalled);
                state.since = Some(since);
                state.cause = Some(stall.cause);
                (state.waiting, state.estimated) = self.waiting(device, *serial);
            } else if let Some((condition, since, cause)) = self.condition(device, &self.written) {
                state.condition = Some(condition);
                state.since = since;
                state.cause = cause;
            }
            state
        });
        states.collect()
    }

    /// How a device does that holds up nobody.
    fn condition(
        &self,
        device: &Device,
        written: &Throughput,
    ) -> Option<(Condition, Option<Nanos>, Option<Cause>)> {
        if let Some(incident) = self.incidents.under_way(device) {
            let (since, cause) = (incident.start, incident.cause);
            return Some((Condition::Failing, Some(since), Some(cause)));
        }
        if let Some(since) = self.sockets.fills_since(device) {
            return Some((Condition::Filling, Some(since), None));
        }
        let taken = written.devices().get(device).copied()?;
        Some(match taken.closed {
            Some(at) => (Condition::Closed, Some(at), None),
            None => (Condition::Works, None, None),
        })
    }
}

/// What is known of the request by now, and for how long the device has held it up.
pub(super) fn so_far(
    request: &crate::request::Request,
    long: &Long,
    now: Nanos,
) -> (RequestInfo, Nanos) {
    let before = request.operations.iter();
    let before = before.filter(|operation| operation.device == long.device);
    let before: Nanos = before.map(Operation::duration).sum();
    let mut info = hang::describe(request);
    info.duration = now.saturating_sub(info.start);
    info.lower_bound = false;
    (info, before + now.saturating_sub(long.start))
}

/// What it took.
fn device_snapshot(device: Device, written: &Throughput) -> DeviceSnapshot {
    let devices = written.devices();
    let taken = devices.get(&device).copied();
    let is_alone = devices.len() == 1;
    let all_told = written.together() == 0;
    let entries = |taken: &Taken| match (all_told, is_alone) {
        (true, _) => Some(taken.entries),
        (_, true) => Some(taken.entries + written.together()),
        (false, false) => None,
    };
    DeviceSnapshot {
        condition: None,
        since: None,
        cause: None,
        buffer: taken.and_then(|taken| taken.buffer),
        entries: taken.and_then(entries),
        bytes: taken
            .filter(|taken| taken.in_sequence || all_told)
            .map(|taken| taken.bytes),
        waiting: 0,
        estimated: false,
        device,
    }
}
