//! When the server's goroutines are to be looked at, and what a look means.

use crate::cause::cause_of;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;

use crate::{
    Core, Query,
    request::Request,
    sampled_wait::{Behind, StackSample},
};
use tracer_model::{Cause, GoroutineSample, Op, RequestSeq, WaitReason};
use tracer_model::{Device, Nanos};

/// A request that makes no sign for so long is looked at, ns.
const SILENT: Nanos = 200_000_000;

/// So is what has been stalled for so long, ns; for half of the threshold if that is less.
const STALLED: Nanos = 50_000_000;

/// Between two looks while something is stalled, ns: as exact as what queues can be timed. A look
/// takes milliseconds.
const WHILE_STALLED: Nanos = 100_000_000;

/// Between two looks while a request is merely silent, ns: a quarter of the silence, but not less and
/// not more than this.
const WHILE_SILENT: (Nanos, Nanos) = (450_000_000, 4_000_000_000);

/// An answer that has not come by then, ns, will not.
const UNANSWERED: Nanos = 5_000_000_000;

/// What the last look found.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// When it was taken.
    at: Nanos,
    /// When the next one was asked for, if it was.
    asked: Option<Nanos>,
    /// Requests that queue for each device.
    queued: BTreeMap<Device, u64>,
}

impl Sampler {
    /// How many requests queued for a device when it was last looked.
    pub(super) fn queued(&self, device: &Device) -> u64 {
        self.queued.get(device).copied().unwrap_or(0)
    }
}

/// One goroutine that was found, and whose request it works on in which device.
struct Found<'a> {
    parked: &'a GoroutineSample,
    request: RequestSeq,
    device: Option<Device>,
    /// It was nowhere before then.
    since: Nanos,
}

/// What is ahead of those that queue for a device.
struct Ahead {
    holder: Option<Behind>,
    /// Since when the device has been stalled without a break.
    stalled_since: Option<Nanos>,
}

impl Core {
    /// Asks for the goroutines if it is time to.
    pub(super) fn look(&mut self, now: Nanos) {
        if self.look_due().is_some_and(|due| due <= now) {
            self.looks.asked = Some(now);
            self.requests.leavers.begin();
            self.step.queries.push(Query::Goroutines);
        }
    }

    /// When to look next, if there is something to look for.
    pub(super) fn look_due(&self) -> Option<Nanos> {
        if !self.session.stacks {
            return None;
        }
        let last = self
            .looks
            .asked
            .map_or(self.looks.at, |asked| asked + UNANSWERED);
        let stalled = self.sockets.waits_since().map(|start| {
            // One short stall after the other is a long one to who queues.
            let start = self.held.longest().map_or(start, |since| since.min(start));
            let patience = STALLED.min(self.session.threshold / 2);
            (start + patience).max(last + WHILE_STALLED)
        });
        let found = self
            .requests
            .all()
            .any(|request| request.open_waits().next().is_some());
        let found = found.then_some(last + WHILE_STALLED);
        [stalled, found, self.silence_due(last)]
            .into_iter()
            .flatten()
            .min()
    }

    fn silence_due(&self, last: Nanos) -> Option<Nanos> {
        let silent = self.requests.all().filter(|request| request.is_silent());
        let latest = silent.map(|request| request.end).max()?;
        let (shortest, longest) = WHILE_SILENT;
        let pause = (last.saturating_sub(latest) / 4).clamp(shortest, longest);
        Some((latest + SILENT).max(last + pause))
    }

    /// Takes where goroutines wait. Who waits in the code of an audit device also says which those are.
    pub(super) fn parked(&mut self, at: Nanos, goroutines: &[GoroutineSample]) {
        self.looks.asked = None;
        let before = std::mem::replace(&mut self.looks.at, at);
        for device in goroutines
            .iter()
            .filter_map(|parked| parked.device.as_ref())
        {
            // Most are known, which is told sooner than whether a text is an address.
            if !self.devices.contains(device) && device.is_address() {
                self.devices.insert(device.clone());
            }
        }
        for operation in self.sockets.missed(goroutines) {
            self.held.ended(&operation.device, operation.end);
            self.did(operation, true);
        }
        let found = self.found(at, goroutines, before);
        let holders: BTreeMap<_, _> = found
            .iter()
            .filter_map(|found| Some((found.device.clone()?, self.holds(at, found)?)))
            .collect();
        self.looks.queued.clear();
        // Who queues can only have done so since another one was stalled: those first.
        let (queued, stalled): (Vec<_>, Vec<_>) = found
            .iter()
            .partition(|found| found.parked.place == WaitReason::Lock);
        for found in stalled {
            self.take_look(at, found, None);
        }
        let devices: BTreeSet<_> = queued.iter().filter_map(|f| f.device.as_ref()).collect();
        let ahead: BTreeMap<_, _> = devices
            .into_iter()
            .map(|device| (device, self.ahead(device, at, &holders)))
            .collect();
        for found in queued {
            let ahead = found.device.as_ref().and_then(|device| ahead.get(device));
            self.take_look(at, found, ahead);
        }
        let goids: FxHashSet<_> = goroutines.iter().map(|parked| parked.goid).collect();
        self.requests.not_found(at, &goids);
        self.requests.leavers.end();
    }

    fn found<'a>(
        &mut self,
        at: Nanos,
        goroutines: &'a [GoroutineSample],
        before: Nanos,
    ) -> Vec<Found<'a>> {
        let mut meant = BTreeMap::new();
        let found = goroutines.iter().filter_map(|parked| {
            if self.requests.leavers.has(parked.goid, at) {
                return None;
            }
            let is_new = !self.requests.is_known(parked.goid);
            let request = self.requests.whose(parked, self.session.began)?;
            if let (Some(entry), Some(request)) = (&parked.entry, self.requests.get_mut(request)) {
                request.hears(entry);
            }
            self.sockets.found(at, parked);
            Some(Found {
                parked,
                request,
                device: self.device_of(parked, goroutines, &mut meant),
                since: if is_new { before } else { 0 },
            })
        });
        found.collect()
    }

    /// The request that is in the device, and why it is there for so long.
    fn holds(&self, at: Nanos, found: &Found<'_>) -> Option<Behind> {
        let cause = match found.parked.place {
            WaitReason::Lock => return None,
            WaitReason::Resolve => Cause::Resolver,
            WaitReason::Connect
            | WaitReason::Write
            | WaitReason::Open
            | WaitReason::Answer
            | WaitReason::Other => {
                let wait = self.sockets.open_wait(found.parked.goid, at);
                wait.as_ref().map_or(Cause::Unknown, cause_of)
            }
        };
        Some(Behind {
            request: found.request,
            cause,
        })
    }

    /// Who is in a device for which others queue, or was just before, where the look found nobody there.
    fn ahead(&self, device: &Device, at: Nanos, holders: &BTreeMap<Device, Behind>) -> Ahead {
        let last = || {
            Some(Behind {
                request: self.held.at(device, at)?.by,
                cause: Cause::Unknown,
            })
        };
        Ahead {
            holder: holders.get(device).copied().or_else(last),
            stalled_since: self.stalled_since(device, at),
        }
    }

    /// `ahead`: of who queues.
    fn take_look(&mut self, at: Nanos, found: &Found<'_>, ahead: Option<&Ahead>) {
        let Found {
            parked,
            request,
            device: Some(device),
            since,
        } = found
        else {
            return;
        };
        let Some(op) = self.op_of(found) else { return };
        self.devices.insert(device.clone());
        let holder = ahead.and_then(|ahead| ahead.holder);
        let look = StackSample {
            op,
            device: device.clone(),
            phase: parked.phase(),
            since: parked.since,
            frames: parked.frames.clone(),
            behind: holder.filter(|holder| holder.request != *request),
            stalled_since: ahead.and_then(|ahead| ahead.stalled_since),
        };
        if op == Op::Lock {
            *self.looks.queued.entry(device.clone()).or_default() += 1;
        }
        self.requests
            .found(at, (*request, parked.goid), *since, look);
    }

    /// What it waits for, if its socket does not tell that better.
    fn op_of(&self, found: &Found<'_>) -> Option<Op> {
        let goid = found.parked.goid;
        let request = self.requests.get(found.request)?;
        match found.parked.place {
            WaitReason::Lock if !self.sockets.is_waiting(goid) => Some(Op::Lock),
            WaitReason::Resolve if !self.sockets.is_waiting(goid) => Some(Op::Resolve),
            WaitReason::Connect | WaitReason::Open if !request.waits() => Some(Op::Connect),
            WaitReason::Write | WaitReason::Answer if !request.waits() => Some(Op::Write),
            _ => None,
        }
    }

    /// Since when the device has been stalled without a break, as sockets tell or looks did.
    pub(super) fn stalled_since(&self, device: &Device, at: Nanos) -> Option<Nanos> {
        let by_socket = self.held.at(device, at).map(|span| span.since);
        let stalls = self.requests.all().flat_map(Request::open_stalls);
        let by_look = stalls.filter(|stall| stall.look.device == *device);
        by_look.map(|wait| wait.start).chain(by_socket).min()
    }

    /// `meant`: what [`Self::meant`] said in this look of each place so far.
    fn device_of(
        &self,
        parked: &GoroutineSample,
        all: &[GoroutineSample],
        meant: &mut BTreeMap<WaitReason, Option<Device>>,
    ) -> Option<Device> {
        let known = parked.device.as_ref().filter(|device| device.is_address());
        known
            .or_else(|| self.sockets.waits_for(parked.goid))
            .cloned()
            .or_else(|| {
                let meant = meant.entry(parked.place);
                meant
                    .or_insert_with(|| self.meant(parked.place, all))
                    .clone()
            })
            .or_else(|| parked.device.clone())
    }

    /// The device that is meant, where it is configured by a name or cannot be read: who resolves has
    /// no connection to it, and who queues does so behind one that is stalled, or that resolves.
    fn meant(&self, place: WaitReason, all: &[GoroutineSample]) -> Option<Device> {
        let stalled = self.sockets.stalled();
        let by_stall = self.only(|_, device| stalled.contains(device));
        let resolving = all.iter().any(|parked| parked.place == WaitReason::Resolve);
        let unconnected = || {
            self.only(|core, device| {
                device.transport.is_socket() && !core.sockets.connected(device)
            })
        };
        let by_name = || resolving.then(unconnected).flatten();
        match place {
            WaitReason::Lock => by_stall.or_else(by_name),
            WaitReason::Resolve => by_name(),
            WaitReason::Connect
            | WaitReason::Write
            | WaitReason::Open
            | WaitReason::Answer
            | WaitReason::Other => None,
        }
    }

    /// The device that this is true of, if it is true of one alone.
    fn only(&self, is_meant: impl Fn(&Self, &Device) -> bool) -> Option<Device> {
        let mut meant = self.devices.iter().filter(|device| is_meant(self, device));
        let one = meant.next()?;
        meant.next().is_none().then(|| one.clone())
    }
}
