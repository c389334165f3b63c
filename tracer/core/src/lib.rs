//! The pure core: events in, findings out. No I/O, no clock, no failure: what it knows of time comes
//! with the events, and what it wants to know it asks ([`Query`]) and is answered by a further
//! event. So every trace can be replayed.

use tracer_model::EntryQuery;
pub mod ack_stall;
pub mod cause;
pub mod hang;
pub mod incident;
pub mod names;
mod open_stalls;
mod overlap;
mod packet_marks;
pub mod request;
pub mod sampled_wait;
mod sampler;
pub mod snapshot;
pub mod socket;
pub mod stall_periods;
#[cfg(test)]
mod tests;
mod throughput;
pub mod unacked;
mod verdicts;

use crate::cause::cause_of;
use std::{collections::BTreeSet, mem, net::SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    incident::Incidents,
    names::Names,
    request::{Request, Requests},
    sampler::Sampler,
    socket::{Change, Sockets},
    stall_periods::StallPeriods,
    throughput::Throughput,
};
use tracer_model::{Actor, BufferedTotals, Device, Event, EventKind, Nanos, Session};
use tracer_model::{Cause, Drops, Finding, Incident, LostEntries, Operation, Summary};

/// Between two ticks, ns, where nothing is due.
const TICK: Nanos = 250_000_000;

/// What the core wants to know and cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Which entry a request wrote to an audit file. The answer is a [`EventKind::EntryFound`].
    Entry(EntryQuery),
    /// Where the server's goroutines wait. The answer is a [`EventKind::GoroutinesSampled`].
    Goroutines,
}

/// What one event led to.
#[derive(Debug, Default)]
pub struct Step {
    /// Results.
    pub findings: Vec<Finding>,
    /// Questions to answer.
    pub queries: Vec<Query>,
}

/// How a device failed.
#[derive(Debug)]
struct Failure {
    at: Nanos,
    cause: Cause,
    drops: Drops,
}

/// All that is known of the trace so far.
///
/// Its tables are hashed without a secret: whom the server serves cannot choose the keys, which are
/// goroutines' ids, the times at which sockets were seen, and audit devices.
#[derive(Debug, Default)]
pub struct Core {
    session: Session,
    sockets: Sockets,
    requests: Requests,
    incidents: Incidents,
    held: StallPeriods,
    looks: Sampler,
    names: Names,
    devices: FxHashSet<Device>,
    written: Throughput,
    warned: FxHashSet<Device>,
    /// How each device failed last.
    failures: FxHashMap<Device, Failure>,
    /// How many hangs have been told of.
    hangs: u64,
    ticked: Nanos,
    totals: Summary,
    /// Empty between two events: kept for its memory.
    changes: Vec<Change>,
    step: Step,
}

/// What the core says of these events, to the last. Nobody answers its questions: the answers are among the
/// events, if these were recorded.
pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> impl Iterator<Item = Finding> {
    let mut core = Core::new();
    let events = events.into_iter();
    events.flat_map(move |event| core.on(event).findings)
}

impl Core {
    /// Knows nothing; the first event is to be the session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Local and remote ends of connections that the server has closed and the kernel has not: what
    /// their send queues hold is to be told before the end ([`EventKind::SendQueues`]).
    pub fn closing(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.sockets.closing()
    }

    /// Takes one event.
    pub fn on(&mut self, event: &Event) -> Step {
        match &event.what {
            EventKind::Session(session) => self.begin(session),
            EventKind::Restarted(session) => self.begin_again(event.at, session),
            EventKind::Tick => self.tick(event.at),
            EventKind::EntryFound { asked, entry } => self.answered(asked, entry.as_ref()),
            EventKind::GoroutinesSampled { goroutines, .. } => self.parked(event.at, goroutines),
            EventKind::BufferingEnded(routine) => self.resume(routine),
            EventKind::BufferedWrite { .. } => self.logged(event),
            EventKind::RecordsLost { records, .. } => {
                self.totals.events_lost += records;
                self.sockets.doubt();
            }
            EventKind::SendQueues { queues } => {
                self.sockets.hold(event.at, queues);
                self.ask_all(event.at);
            }
            EventKind::End => self.end(event.at),
            _ => self.observe(event),
        }
        mem::take(&mut self.step)
    }

    /// When the next [`EventKind::Tick`] should come, at the latest.
    pub fn due(&self) -> Nanos {
        let dues = [
            self.look_due(),
            self.stalled_due(),
            Some(self.ticked + TICK),
        ];
        dues.into_iter().flatten().min().unwrap_or(0)
    }

    /// Whether nothing goes on but routine: no device stalls or fails, no connection is silent, nobody is
    /// held up, no verdict waits.
    pub fn is_calm(&self) -> bool {
        let threshold = self.session.threshold;
        let is_well = |request: &Request| {
            let failed = request.operations.iter().any(Operation::failed);
            !failed && !hang::is_held_up(request, threshold)
        };
        self.sockets.are_calm()
            && self.incidents.are_over()
            && self.names.waiting() == 0
            && self.requests.all().all(is_well)
    }

    /// Whether nothing is kept of what is over: no request, no socket, no verdict that waits. For tests.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
            && self.sockets.is_empty()
            && self.names.waiting() == 0
            && self.incidents.are_told()
    }

    /// How many things are remembered, in all tables: bounded by open sockets and requests under way, and
    /// by constants for what is over. For tests.
    pub fn kept(&self) -> usize {
        let by_device = self.devices.len() + self.warned.len() + self.failures.len();
        self.requests.kept()
            + self.sockets.kept()
            + self.names.kept()
            + self.incidents.kept()
            + self.held.kept()
            + self.written.kept()
            + by_device
    }

    fn begin(&mut self, session: &Session) {
        self.devices.extend(session.declared.iter().cloned());
        self.session = session.clone();
        self.find(Finding::Session(session.clone()));
    }

    /// The server was started again. What its predecessor did is over.
    fn begin_again(&mut self, at: Nanos, session: &Session) {
        self.close(at);
        self.session = Session {
            // Taken once: a step of the clock in between does not tear the trace apart.
            wall_offset: self.session.wall_offset,
            ..session.clone()
        };
        self.find(Finding::Attached(self.session.clone()));
    }

    /// Routine was held back since the last event. Whoever was at work then has ended since, or is told of anew.
    fn resume(&mut self, routine: &BufferedTotals) {
        self.requests.go_on(routine);
        self.sockets.go_on();
        self.totals.audit_writes += routine.audit_writes;
        self.written.entries(routine.audit_writes);
        self.totals.events += routine.told;
        self.totals.requests_at_least |= routine.at_least;
    }

    fn logged(&mut self, event: &Event) {
        if let EventKind::BufferedWrite {
            socket,
            entry: Some(_),
            ..
        } = &event.what
        {
            self.devices.extend(Device::of(socket));
        }
        self.written.on(event);
        self.sockets.logged(event);
    }

    fn observe(&mut self, event: &Event) {
        self.totals.events += 1;
        self.written.on(event);
        let mut changes = mem::take(&mut self.changes);
        self.sockets.on(event, &mut changes);
        for change in changes.drain(..) {
            self.change(event.at, change);
        }
        self.changes = changes;
        let over = self.requests.on(event);
        self.finish_all(over);
    }

    fn change(&mut self, at: Nanos, change: Change) {
        match change {
            Change::Began(by, device) => self.waits(at, by, &device),
            Change::Ended(operation) => {
                self.held.ended(&operation.device, operation.end);
                self.did(*operation, true);
            }
            Change::Done(operation) => self.did(*operation, false),
            Change::Lost(loss) => self.lost(loss),
            Change::Filling(filling) => self.find(Finding::Filling(filling)),
        }
    }

    fn waits(&mut self, at: Nanos, by: Actor, device: &Device) {
        self.infer(at, by, device);
        let serial = self.requests.waits(at, by);
        self.held.began(device, at, serial);
    }

    /// Whether it has queued, where stacks cannot tell.
    fn infer(&mut self, at: Nanos, by: Actor, device: &Device) {
        if !self.session.stacks
            && self.devices.contains(device)
            && let Some(span) = self.held.at(device, at)
        {
            self.requests.infer(at, by, device, span);
        }
    }

    fn did(&mut self, operation: Operation, waited: bool) {
        if operation.entry.is_some() {
            if !operation.failed() {
                self.totals.audit_writes += 1;
                self.written.entry(&operation.device);
            }
            if !self.devices.contains(&operation.device) {
                self.devices.insert(operation.device.clone());
            }
        }
        if !waited {
            self.infer(operation.start, operation.by, &operation.device);
        }
        if self.devices.contains(&operation.device) {
            self.failed(&operation);
            self.incidents.did(&operation, self.session.threshold);
        }
        let matters = self.devices.contains(&operation.device) || operation.failed();
        if (waited || matters)
            && let Some(request) = self.requests.did(operation, waited)
        {
            self.finish(request);
        }
    }

    fn failed(&mut self, operation: &Operation) {
        if operation.failed() {
            let failure = Failure {
                at: operation.end,
                cause: cause_of(operation),
                drops: operation.evidence.drops.clone(),
            };
            self.failures.insert(operation.device.clone(), failure);
        }
    }

    fn settle(&mut self) {
        for loss in self.sockets.settle() {
            self.lost(loss);
        }
    }

    fn lost(&mut self, loss: LostEntries) {
        self.incidents.lost(&loss);
        self.find(Finding::LostEntries(loss));
    }

    fn tick(&mut self, now: Nanos) {
        self.ticked = now;
        self.look(now);
        self.tell_stalled(now);
        let over = self.requests.expire(now);
        self.finish_all(over);
        self.settle();
        let in_use = |device: &Device| {
            let mut held = self.names.held();
            held.any(|held| held.device() == device) || self.requests.use_device(device)
        };
        for incident in self.incidents.settle(in_use) {
            self.incident(incident);
        }
    }

    fn incident(&mut self, mut incident: Incident) {
        if !self.sockets.know_losses(&incident.device) {
            incident.lost = None;
        }
        self.totals.incidents += 1;
        self.find(Finding::Incident(incident));
    }

    /// Nothing more comes of this server: all that is open is told.
    fn close(&mut self, at: Nanos) {
        self.settle();
        let (open, losses) = self.sockets.end(at);
        for operation in open {
            self.did(operation, true);
        }
        for loss in losses {
            self.lost(loss);
        }
        let under_way = self.requests.end(at);
        for mut request in under_way.into_iter().filter(|r| !r.is_outlived()) {
            let (verdicts, _) = self.judge(&mut request);
            self.names.know(&request);
            self.names.hold(request.serial, verdicts, BTreeSet::new());
        }
        self.release(true);
        for incident in self.incidents.end() {
            self.incident(incident);
        }
        self.sockets = Sockets::default();
        self.written.end(at);
    }

    fn end(&mut self, at: Nanos) {
        self.close(at);
        self.totals.end = at;
        self.totals.requests = self.requests.seen();
        self.find(Finding::Summary(self.totals.clone()));
    }

    fn find(&mut self, finding: Finding) {
        self.step.findings.push(finding);
    }
}

/// For people.
pub fn seconds(duration: Nanos) -> f64 {
    duration as f64 / 1e9
}
