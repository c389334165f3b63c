//! The pure core: events in, findings out. No I/O, no clock, no failure: what it knows of time comes
//! with the events, and what it wants to know it asks ([`Question`]) and is answered by a further
//! event. So every trace can be replayed.

pub mod cause;
pub mod evidence;
pub mod explain;
pub mod finding;
pub mod hang;
pub mod incident;
pub mod ledger;
pub mod operation;
pub mod parked;
pub mod request;
pub mod silence;
pub mod socket;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use self::{
    cause::Cause,
    finding::{Finding, Incident, Summary},
    hang::Verdict,
    incident::Incidents,
    ledger::Loss,
    operation::{Op, Operation},
    parked::{Look, Parked, Place},
    request::{Request, Requests},
    socket::{Change, Sockets},
};
use crate::{
    audit::entry::EntryHead,
    event::{Device, Event, Nanos, Session, What},
};

/// Questions about requests that were merely refused, under way at once: their number has no bound
/// of its own, where hangs come one in two seconds.
const QUESTIONS: usize = 16;

/// A request that makes no sign for so long is looked at, ns.
const SILENT: Nanos = 200_000_000;

/// Between two looks, ns. A look takes milliseconds, and only while a request is silent.
const LOOKS: Nanos = 450_000_000;

/// What the core wants to know and cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which entry a request wrote to an audit file. The answer is a [`What::EntryFound`].
    Entry(EntryQuestion),
    /// Where the server's goroutines wait. The answer is a [`What::Parked`].
    Goroutines,
}

/// Which request is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryQuestion {
    /// Names the question in its answer.
    pub id: u64,
    /// The client's port, which the entry bears.
    pub client_port: u16,
    /// `CLOCK_REALTIME` ns since the epoch before which the entry cannot have been written.
    pub not_before: i64,
    /// The same, after which.
    pub not_after: i64,
}

/// What one event led to.
#[derive(Debug, Default)]
pub struct Step {
    /// Results.
    pub findings: Vec<Finding>,
    /// Questions to answer.
    pub questions: Vec<Question>,
}

/// All that is known of the trace so far.
#[derive(Debug, Default)]
pub struct Core {
    session: Session,
    sockets: Sockets,
    requests: Requests,
    incidents: Incidents,
    devices: HashSet<Device>,
    warned: HashSet<Device>,
    /// Verdicts that wait for the answer to a question.
    pending: BTreeMap<u64, Vec<Verdict>>,
    questions: u64,
    /// When goroutines were last asked for.
    looked: Nanos,
    /// Why each device was stalled last.
    causes: HashMap<Device, Cause>,
    totals: Summary,
    step: Step,
}

impl Core {
    /// Knows nothing; the first event is to be the session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event.
    pub fn on(&mut self, event: &Event) -> Step {
        match &event.what {
            What::Session(session) => self.begin(session),
            What::Tick => self.expire(event.at),
            What::EntryFound { question, entry } => self.answered(*question, entry.as_ref()),
            What::Parked { goroutines } => self.parked(event.at, goroutines),
            What::Lost { records, .. } => self.totals.events_lost += records,
            What::End => self.end(event.at),
            _ => self.observe(event),
        }
        mem::take(&mut self.step)
    }

    fn begin(&mut self, session: &Session) {
        self.devices.extend(session.declared.iter().cloned());
        self.session = session.clone();
        self.find(Finding::Session(session.clone()));
    }

    fn observe(&mut self, event: &Event) {
        self.totals.events += 1;
        for change in self.sockets.on(event) {
            match change {
                Change::Began(by) => self.requests.waits(event.at, by),
                Change::Ended(operation) => self.did(*operation, true),
                Change::Done(operation) => self.did(*operation, false),
                Change::Lost(loss) => self.lost(loss),
                Change::Filling(filling) => self.find(Finding::Filling(filling)),
            }
        }
        if let Some(request) = self.requests.on(event) {
            self.finish(request);
        }
    }

    fn did(&mut self, operation: Operation, waited: bool) {
        if operation.entry.is_some() {
            self.totals.audit_writes += u64::from(!operation.failed());
            self.devices.insert(operation.device.clone());
        }
        if self.devices.contains(&operation.device) {
            if operation.failed() {
                self.causes
                    .insert(operation.device.clone(), Cause::of(&operation));
            }
            self.incidents.did(&operation, self.session.threshold);
        }
        let matters = self.devices.contains(&operation.device) || operation.failed();
        if waited || matters {
            self.requests.did(operation, waited);
        }
    }

    /// Asks for the goroutines while a request is silent, or stalled in what is not known to be an
    /// audit device.
    fn look(&mut self, now: Nanos) {
        let due = now.saturating_sub(self.looked) >= LOOKS;
        let mut stalled = self.sockets.stalled().into_iter();
        let is_unknown = |device: Device| !self.devices.contains(&device);
        if due && (self.requests.is_silent(now.saturating_sub(SILENT)) || stalled.any(is_unknown)) {
            self.looked = now;
            self.step.questions.push(Question::Goroutines);
        }
    }

    /// Takes where goroutines wait. Who waits in the code of an audit device also says which those are.
    fn parked(&mut self, at: Nanos, goroutines: &[Parked]) {
        let configured = goroutines
            .iter()
            .filter_map(|parked| parked.device.as_ref());
        self.devices
            .extend(configured.filter(|d| d.is_address()).cloned());
        let looks: HashMap<_, _> = goroutines
            .iter()
            .filter_map(|parked| Some((parked.works_for(), self.look_of(parked, goroutines)?)))
            .collect();
        self.devices
            .extend(looks.values().map(|look| look.device.clone()));
        self.requests.found(at, &looks);
    }

    /// Of those that wait for what no socket tells.
    fn look_of(&self, parked: &Parked, all: &[Parked]) -> Option<Look> {
        let op = match parked.place {
            Place::Lock => Op::Lock,
            Place::Resolve => Op::Resolve,
            Place::Connect | Place::Write | Place::Open | Place::Answer | Place::Other => {
                return None;
            }
        };
        let known = parked.device.as_ref().filter(|device| device.is_address());
        let device = known
            .cloned()
            .or_else(|| self.meant(op, all))
            .or_else(|| parked.device.clone())?;
        Some(Look {
            op,
            device,
            phase: parked.phase,
        })
    }

    /// The device that is meant, where it is configured by a name or cannot be read: who resolves has
    /// no connection to it, and who queues does so behind one that is stalled, or that resolves.
    fn meant(&self, op: Op, all: &[Parked]) -> Option<Device> {
        let stalled = self.sockets.stalled();
        let by_stall = self.only(|_, device| stalled.contains(device));
        let resolving = all.iter().any(|parked| parked.place == Place::Resolve);
        let unconnected = || self.only(|core, device| !core.sockets.connected(device));
        let by_name = || resolving.then(unconnected).flatten();
        match op {
            Op::Lock => by_stall.or_else(by_name),
            _ => by_name(),
        }
    }

    /// The device that this is true of, if it is true of one alone.
    fn only(&self, is_meant: impl Fn(&Self, &Device) -> bool) -> Option<Device> {
        let mut meant = self.devices.iter().filter(|device| is_meant(self, device));
        let one = meant.next()?;
        meant.next().is_none().then(|| one.clone())
    }

    fn settle(&mut self) {
        for loss in self.sockets.settle() {
            self.lost(loss);
        }
    }

    fn lost(&mut self, loss: Loss) {
        self.incidents.lost(&loss);
        self.find(Finding::Lost(loss));
    }

    fn expire(&mut self, now: Nanos) {
        self.look(now);
        for request in self.requests.expire(now) {
            self.finish(request);
        }
        self.settle();
        let in_use = |device: &Device| {
            let mut pending = self.pending.values().flatten().map(Verdict::device);
            pending.any(|pending| pending == device) || self.requests.use_device(device)
        };
        for incident in self.incidents.settle(in_use) {
            self.incident(incident);
        }
    }

    fn incident(&mut self, mut incident: Incident) {
        if self.sockets.owe(&incident.device) {
            incident.lost = None;
        }
        self.totals.incidents += 1;
        self.find(Finding::Incident(incident));
    }

    /// Judges a request of which nothing more is to be expected.
    fn finish(&mut self, mut request: Request) {
        self.complete(&mut request);
        let request = &request;
        let mut verdicts = hang::judge(request, self.session.threshold);
        let unknown: Vec<_> = verdicts
            .extract_if(.., |verdict| !self.devices.contains(verdict.device()))
            .collect();
        for verdict in unknown {
            self.suspect(&verdict);
        }
        match self.question(request, &verdicts) {
            Some(question) => {
                self.pending.insert(question.id, verdicts);
                self.step.questions.push(Question::Entry(question));
            }
            None => self.report(verdicts),
        }
    }

    /// What the waits that no socket told mean for their devices.
    fn complete(&mut self, request: &mut Request) {
        for operation in &mut request.operations {
            match operation.op {
                Op::Lock => operation.holder = self.causes.get(&operation.device).copied(),
                Op::Resolve => {
                    self.causes
                        .insert(operation.device.clone(), Cause::Resolver);
                    self.incidents.did(operation, self.session.threshold);
                }
                Op::Connect | Op::Write => {}
            }
        }
    }

    /// Something a client's request waited for, of which nobody said that it is an audit device.
    fn suspect(&mut self, verdict: &Verdict) {
        let Verdict::Hang(hang) = verdict else { return };
        if hang.request.client.is_none() || !self.warned.insert(hang.device.clone()) {
            return;
        }
        let Device { address, .. } = &hang.device;
        self.find(Finding::Warning(format!(
            "a client's request waited {:.2} s for {}, to which no audit entry has been seen written yet; if it is an audit device, say so: --audit {address}",
            seconds(hang.duration), hang.device
        )));
    }

    fn question(&mut self, request: &Request, verdicts: &[Verdict]) -> Option<EntryQuestion> {
        let known = request.entry().is_some_and(|entry| entry.id.is_some());
        let hangs = verdicts.iter().any(|v| matches!(v, Verdict::Hang(_)));
        if known || verdicts.is_empty() || !(hangs || self.pending.len() < QUESTIONS) {
            return None;
        }
        let client_port = request.client?.port();
        self.questions += 1;
        Some(EntryQuestion {
            id: self.questions,
            client_port,
            not_before: self.wall(request.start),
            not_after: self.wall(request.end),
        })
    }

    fn wall(&self, at: Nanos) -> i64 {
        self.session.wall_offset.saturating_add_unsigned(at)
    }

    fn answered(&mut self, question: u64, entry: Option<&EntryHead>) {
        let mut verdicts = self.pending.remove(&question).unwrap_or_default();
        if let Some(entry) = entry {
            for verdict in &mut verdicts {
                verdict.request_mut().learn(entry);
            }
        }
        self.report(verdicts);
    }

    fn report(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            match verdict {
                Verdict::Hang(hang) => {
                    self.totals.hangs += 1;
                    self.incidents.hung(&hang);
                    self.find(Finding::Hang(hang));
                }
                Verdict::Refusal(refusal) => {
                    self.totals.refusals += 1;
                    self.incidents.refused(&refusal.device, refusal.start);
                    self.find(Finding::Refusal(refusal));
                }
            }
        }
    }

    fn end(&mut self, at: Nanos) {
        self.settle();
        let (open, losses) = self.sockets.end(at);
        for operation in open {
            self.did(operation, true);
        }
        for loss in losses {
            self.lost(loss);
        }
        for mut request in self.requests.end(at) {
            self.complete(&mut request);
            let verdicts = hang::judge(&request, self.session.threshold);
            self.report(
                verdicts
                    .into_iter()
                    .filter(|verdict| self.devices.contains(verdict.device()))
                    .collect(),
            );
        }
        for (_, verdicts) in mem::take(&mut self.pending) {
            self.report(verdicts);
        }
        for incident in self.incidents.end() {
            self.incident(incident);
        }
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
