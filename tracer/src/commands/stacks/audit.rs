//! Who waits in audit code, from two samples: what merely passes through is no wait. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::report::{AuditGroup, WaitingRequest};
use crate::server::goroutines::Samples;
use tracer_model::{
    ConfiguredDevice, Device, EntryHead, GoroutineSample, HandlerSample, Nanos, Phase, Transport,
    WaitReason,
};

/// What was in audit code at two samples.
#[derive(Debug)]
pub(super) struct AuditWaits {
    /// When the second was taken: `CLOCK_MONOTONIC`, ns.
    pub(super) at: Nanos,
    waits: Vec<AuditWait>,
    /// All goroutines in audit code at the second sample.
    goids: BTreeSet<u64>,
    interval: Nanos,
}

/// A goroutine that has waited from the first sample to the second.
#[derive(Debug)]
struct AuditWait {
    goid: u64,
    place: Place,
    /// As the server itself says.
    since: Option<Nanos>,
    /// The goroutine of the request, if that is in the audit broker.
    request: Option<u64>,
    entry: Option<EntryHead>,
}

/// What groups have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    device: Option<Device>,
    wait: WaitReason,
    phase: Option<Phase>,
    functions: Vec<String>,
}

impl AuditWaits {
    /// `at`: when the second sample was taken.
    pub(super) fn new(first: Samples, second: Samples, interval: Nanos, at: Nanos) -> Self {
        let configured = second.configured.or(first.configured).unwrap_or_default();
        let unmoved: BTreeSet<_> = second.unmoved.into_iter().collect();
        let before = requests(first.handlers.as_deref());
        let handlers = second.handlers.as_deref();
        let now = requests(handlers);
        let stays = |goid: u64| {
            now.get(&goid)
                .is_some_and(|at| before.get(&goid) == Some(at))
        };
        let request_of = |sample: &GoroutineSample| {
            let goid = sample.request.unwrap_or(sample.goid);
            // They are in the order of their IDs.
            let is_in = |all: &[HandlerSample]| all.binary_search_by_key(&goid, |h| h.goid).is_ok();
            let is_waiting = handlers.is_none_or(is_in);
            is_waiting.then_some(goid)
        };
        let mut goids: BTreeSet<_> = second.goroutines.iter().map(|sample| sample.goid).collect();
        let mut waits = Vec::new();
        for sample in second.goroutines {
            let request = request_of(&sample);
            if unmoved.contains(&sample.goid) || request.is_some_and(stays) {
                waits.push(AuditWait::of(sample, request, &configured));
            }
        }
        let explained: BTreeSet<_> = waits.iter().filter_map(|wait| wait.request).collect();
        goids.extend(handlers.into_iter().flatten().map(|handler| handler.goid));
        let alone = handlers.into_iter().flatten();
        let alone = alone.filter(|h| stays(h.goid) && !explained.contains(&h.goid));
        waits.extend(alone.cloned().map(AuditWait::in_broker));
        Self {
            at,
            waits,
            goids,
            interval,
        }
    }

    /// All goroutines in audit code at the second sample.
    pub(super) fn goids(&self) -> BTreeSet<u64> {
        self.goids.clone()
    }

    /// Requests that wait for a device.
    pub(super) fn waiting_requests(&self) -> usize {
        let for_device = |wait: &&AuditWait| wait.place.wait != WaitReason::Other;
        let waits = self.waits.iter().filter(for_device);
        let requests: BTreeSet<_> = waits.filter_map(|wait| wait.request).collect();
        requests.len()
    }

    /// Goroutines in audit code that have not waited there since the first sample.
    pub(super) fn passing(&self) -> usize {
        let waits = self.waits.iter();
        let waiting: BTreeSet<_> = waits
            .flat_map(|wait| [Some(wait.goid), wait.request])
            .flatten()
            .collect();
        self.goids.difference(&waiting).count()
    }

    /// The device that most requests wait for first, and of that what most wait for last: the others wait for who is in it.
    /// `since`: since when goroutines have waited at least, ns.
    pub(super) fn groups(self, since: &HashMap<u64, Nanos>) -> Vec<AuditGroup> {
        let mut groups = BTreeMap::<Place, Vec<AuditWait>>::new();
        let mut of_device = BTreeMap::<Option<Device>, BTreeSet<u64>>::new();
        let (at, interval) = (self.at, self.interval);
        for wait in self.waits {
            let requests = of_device.entry(wait.place.device.clone()).or_default();
            requests.extend(wait.request);
            groups.entry(wait.place.clone()).or_default().push(wait);
        }
        let waited = |wait: &AuditWait| wait.waited(at, interval, since.get(&wait.goid).copied());
        let groups = groups.into_iter();
        let mut groups: Vec<_> = groups
            .map(|(place, all)| group(place, all, waited))
            .collect();
        groups.sort_by_key(|group| {
            let requests = of_device.get(&group.device).map_or(0, BTreeSet::len);
            (
                Reverse(requests),
                group.device.clone(),
                group.wait == WaitReason::Lock,
                Reverse(group.goroutines),
            )
        });
        groups
    }
}

/// The request of each goroutine in the audit broker, where it is certain: a goroutine may serve the next one at the second sample.
fn requests(handlers: Option<&[HandlerSample]>) -> BTreeMap<u64, (&str, Option<Phase>)> {
    let all = handlers.unwrap_or_default().iter();
    all.filter_map(|handler| {
        let entry = handler.entry.as_ref()?;
        Some((handler.goid, (entry.id.as_deref()?, handler.phase)))
    })
    .collect()
}

impl AuditWait {
    fn of(sample: GoroutineSample, request: Option<u64>, configured: &[ConfiguredDevice]) -> Self {
        let phase = sample.phase();
        Self {
            goid: sample.goid,
            place: Place {
                device: sample.device.map(|device| named(device, configured)),
                wait: sample.place,
                phase,
                functions: sample.frames,
            },
            since: sample.since,
            request,
            entry: sample.entry,
        }
    }

    /// Which device it waits for does not show.
    fn in_broker(handler: HandlerSample) -> Self {
        Self {
            goid: handler.goid,
            place: Place {
                device: None,
                wait: WaitReason::Other,
                phase: handler.phase,
                functions: Vec::new(),
            },
            since: None,
            request: Some(handler.goid),
            entry: handler.entry,
        }
    }

    /// How long, ns, and whether it may be longer. `noted`: since when the garbage collector has seen it wait.
    fn waited(&self, at: Nanos, interval: Nanos, noted: Option<Nanos>) -> (Nanos, bool) {
        if let Some(since) = self.since {
            return (at.saturating_sub(since), false);
        }
        let noted = noted.map_or(0, |since| at.saturating_sub(since));
        (noted.max(interval), true)
    }
}

/// With what the operator called it, if that is one thing.
fn named(mut device: Device, configured: &[ConfiguredDevice]) -> Device {
    let is_meant = |known: &&ConfiguredDevice| {
        let is_syslog = known.device.transport == Transport::Syslog && device.is_syslog_socket();
        known.device == device || is_syslog
    };
    let mut meant = configured.iter().filter(is_meant);
    let path = meant.next().filter(|_| meant.next().is_none());
    device.path = path.map(|known| known.path.clone());
    device
}

fn group(
    place: Place,
    all: Vec<AuditWait>,
    waited: impl Fn(&AuditWait) -> (Nanos, bool),
) -> AuditGroup {
    let goroutines = all.len();
    let requests: BTreeSet<_> = all.iter().filter_map(|wait| wait.request).collect();
    let requests = requests.len();
    let mut timed: Vec<_> = all.into_iter().map(|wait| (waited(&wait), wait)).collect();
    timed.sort_by_key(|((ns, _), wait)| (Reverse(*ns), wait.goid));
    let (longest_ns, longest_is_lower_bound) = timed.first().map_or((0, true), |(time, _)| *time);
    let waiting = timed
        .into_iter()
        .filter_map(|((waited_ns, waited_is_lower_bound), wait)| {
            let entry = wait.entry.filter(|_| wait.request.is_some())?;
            Some(WaitingRequest {
                id: entry.id,
                operation: entry.operation,
                path: entry.path,
                remote_address: entry.remote_address,
                remote_port: entry.remote_port,
                waited_ns,
                waited_is_lower_bound,
            })
        });
    AuditGroup {
        device: place.device,
        wait: place.wait,
        phase: place.phase,
        goroutines,
        requests,
        longest_ns,
        longest_is_lower_bound,
        waiting: waiting.take(AuditGroup::MAX_REQUESTS).collect(),
        functions: place.functions,
    }
}
