//! How things stand at one moment: what a live view and metrics show. Findings tell what is over.

use std::collections::BTreeSet;

pub use super::written::SendBuffer;
use super::{
    Core,
    cause::Cause,
    finding::{RequestInfo, Summary},
    hang,
    operation::{Op, Operation},
    request::Serial,
    stalled::Long,
    written::{Taken, Written},
};
use crate::event::{Device, Event, Nanos, Routine, Transport};

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// When.
    pub at: Nanos,
    /// The totals so far.
    pub totals: Summary,
    /// Clients' requests under way; `None` while routine is held back in the kernel, where nobody counts them.
    pub under_way: Option<u64>,
    /// Requests that an audit device holds up now, or that queue for one, as far as seen.
    pub held_up: u64,
    /// Each audit device that is known or was named, in order.
    pub devices: Vec<DeviceState>,
    /// What stalls now, eldest first.
    pub stalls: Vec<OpenStall>,
}

/// How an audit device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes what is written to it.
    Works,
    /// It holds up a request.
    Stalled,
    /// It has stalled or failed, and has not worked since.
    Failing,
    /// It acknowledges nothing: its send buffer fills.
    Filling,
    /// The server has closed the connection to it, and not opened another.
    Closed,
}

impl Condition {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Works,
        Self::Stalled,
        Self::Failing,
        Self::Filling,
        Self::Closed,
    ];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Works => "ok",
            Condition::Stalled => "stalled",
            Condition::Failing => "failing",
            Condition::Filling => "filling",
            Condition::Closed => "closed",
        }
    }
}

/// One audit device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceState {
    /// Which one.
    pub device: Device,
    /// How it does; `None` as long as nothing has been seen of it.
    pub condition: Option<Condition>,
    /// Since when; `None` where it works, or that is not known.
    pub since: Option<Nanos>,
    /// Why it stalls, or why its first operation failed.
    pub cause: Option<Cause>,
    /// How full its send buffer was, and when.
    pub buffer: Option<SendBuffer>,
    /// Entries that it took; `None` where that is not known of this one alone: the kernel side counts those of all
    /// devices together while routine is held back.
    pub entries: Option<u64>,
    /// Bytes that it took.
    pub bytes: Option<u64>,
    /// Requests that queue for it.
    pub waiting: u64,
    /// Whether `waiting` counts all requests under way, since the stacks cannot be read.
    pub estimated: bool,
}

/// A stall under way: a device that has held up a request for longer than the threshold, and still does.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenStall {
    /// As findings name the hang, once they have told of it.
    pub hang: Option<u64>,
    /// Which device.
    pub device: Device,
    /// When what is waited for now began.
    pub start: Nanos,
    /// What is waited for.
    pub op: Op,
    /// Why, as far as can be said yet.
    pub cause: Cause,
    /// Which request, as far as known yet.
    pub request: RequestInfo,
    /// What the device has held the request up for so far, in stalls that are over and this one, ns.
    pub blocked: Nanos,
}

/// What the kernel side has held back since the core was last told anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meanwhile {
    /// In numbers.
    pub routine: Routine,
    /// Some of the writes to audit sockets, the newest among them, in order.
    pub latest: Vec<Event>,
}

impl Core {
    /// How things stand, if all that happened has been told.
    pub fn state(&self, at: Nanos) -> State {
        let stalls = self.stalls(at);
        let mut held_up: BTreeSet<_> = stalls.iter().map(|(serial, _)| *serial).collect();
        held_up.extend(self.queueing());
        let under_way = self.requests.all().filter(|r| r.is_of_a_client());
        State {
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
    pub fn state_of_routine(&self, at: Nanos, meanwhile: &Meanwhile) -> State {
        let Routine {
            requests,
            at_least,
            audit_writes,
            told,
            ..
        } = meanwhile.routine;
        let mut written = self.written.clone();
        written.entries(audit_writes);
        let mut seen: BTreeSet<Device> = BTreeSet::new();
        for event in &meanwhile.latest {
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
            DeviceState {
                condition: condition.or(before.map(|(condition, ..)| condition)),
                since: before.and_then(|(_, since, _)| since),
                ..DeviceState::of(device, &written)
            }
        });
        State {
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
            ..State::default()
        }
    }

    /// Stalls of audit devices that go on, by the requests they hold up.
    fn stalls(&self, at: Nanos) -> Vec<(Serial, OpenStall)> {
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
    fn queueing(&self) -> impl Iterator<Item = Serial> {
        let queue = self.requests.all().filter(|request| {
            let mut waits = request.open_waits();
            !request.is_outlived()
                && waits.any(|w| w.look.op == Op::Lock && self.devices.contains(&w.look.device))
        });
        queue.map(|request| request.serial)
    }

    fn device_states(&self, at: Nanos, stalls: &[(Serial, OpenStall)]) -> Vec<DeviceState> {
        let known: BTreeSet<_> = self.devices.iter().collect();
        let states = known.into_iter().map(|device| {
            let mut state = DeviceState::of(device.clone(), &self.written);
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
        written: &Written,
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
    request: &super::request::Request,
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

impl DeviceState {
    /// What it took.
    fn of(device: Device, written: &Written) -> Self {
        let devices = written.devices();
        let taken = devices.get(&device).copied();
        let is_alone = devices.len() == 1;
        let all_told = written.together() == 0;
        let entries = |taken: &Taken| match (all_told, is_alone) {
            (true, _) => Some(taken.entries),
            (_, true) => Some(taken.entries + written.together()),
            (false, false) => None,
        };
        Self {
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
}
