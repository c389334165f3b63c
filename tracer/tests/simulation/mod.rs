//! A simulated server with the tracer's core beside it, and between them a channel that may lose or swap
//! what it carries.

pub(crate) mod capture;
mod random;
mod server;
pub(crate) mod traffic;
mod wire;

use std::collections::HashSet;

use tracer_core::{Core, Query};
use tracer_model::{Event, EventKind, Finding, Nanos};

use self::{capture::SimulatedCapture, random::Random, server::BEGAN};
pub(crate) use self::{
    server::{Served, Server, Wait},
    wire::{client, device, name},
};

pub(crate) const US: Nanos = 1_000;
pub(crate) const MS: Nanos = 1_000 * US;
pub(crate) const S: Nanos = 1_000 * MS;
pub(crate) const THRESHOLD: Nanos = 100 * MS;

/// Time between two samples while buffering, ns.
const LOOK: Nanos = 100 * MS;

/// Longer than the core keeps anything.
const QUIET: Nanos = 320 * S;

/// What an audit device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Takes every entry at once.
    Healthy,
    /// Takes it late.
    Slow,
    /// Answers no connection attempt.
    Dead,
}

/// What is to happen.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) devices: Vec<State>,
    /// How long a dial lasts, ns.
    pub(crate) timeout: Nanos,
    pub(crate) clients: usize,
    /// Requests of each, one after another.
    pub(crate) each: usize,
    pub(crate) http2: bool,
    pub(crate) stacks: bool,
    /// Whether the server's stacks say since when one queues.
    pub(crate) dates: bool,
    /// Whether the operator has named the devices.
    pub(crate) is_declared: bool,
    /// Of a thousand events, how many are lost, and how many are swapped with the next one if that
    /// comes within a millisecond and is another goroutine's: what one does is in order, on whichever
    /// processors.
    pub(crate) lost: u64,
    pub(crate) swapped: u64,
    /// Whether normal traffic is buffered.
    pub(crate) holds: bool,
}

/// A trace that has ended, and what really happened.
pub(crate) struct Told {
    /// What the core was told, from the session to the end.
    pub(crate) events: Vec<Event>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) requests: Vec<Served>,
    /// Requests of which the end of a wait was lost.
    pub(crate) endless: HashSet<usize>,
    /// Whether the core had forgotten everything before the end.
    pub(crate) was_idle: bool,
}

struct Tracing {
    core: Core,
    capture: Option<SimulatedCapture>,
    server: Server,
    chance: Random,
    events: Vec<Event>,
    findings: Vec<Finding>,
    held: Option<Event>,
    /// Events lost since that was told last.
    lost: u64,
    lost_ends: HashSet<u64>,
    ticked: Nanos,
}

/// Runs it from the session to its end.
pub(crate) fn run(plan: &Plan) -> Told {
    let mut tracing = Tracing {
        core: Core::new(),
        capture: plan.holds.then(|| SimulatedCapture::new(BEGAN)),
        server: Server::new(plan.clone()),
        chance: Random(!plan.seed),
        events: Vec::new(),
        findings: Vec::new(),
        held: None,
        lost: 0,
        lost_ends: HashSet::new(),
        ticked: BEGAN,
    };
    tracing.tell(BEGAN, EventKind::Session(wire::session(plan)));
    tracing.see(BEGAN + MS, wire::prefaces(plan));
    tracing.work();
    let closed = tracing.ticked + S;
    tracing.pass(closed);
    tracing.see(closed, wire::goodbyes(plan));
    tracing.pass(closed + QUIET);
    let was_idle = tracing.core.is_idle();
    tracing.tell(closed + QUIET, EventKind::End);
    let loses = |served: &&Served| tracing.lost_ends.contains(&wire::goid(plan, served));
    Told {
        endless: tracing
            .server
            .requests
            .iter()
            .filter(loses)
            .map(|served| served.number)
            .collect(),
        events: tracing.events,
        findings: tracing.findings,
        requests: tracing.server.requests,
        was_idle,
    }
}

impl Tracing {
    fn work(&mut self) {
        while let Some(next) = self.server.next() {
            self.pass(next);
            self.act();
        }
    }

    /// Lets time pass, with what the core asks for meanwhile.
    fn pass(&mut self, until: Nanos) {
        loop {
            let due = self.due().max(self.ticked + MS);
            match self.server.next().filter(|next| *next < due.min(until)) {
                Some(_) => self.act(),
                None if due >= until => return,
                None => self.tick(due),
            }
        }
    }

    /// While buffering, when a sample may be due.
    fn due(&self) -> Nanos {
        match &self.capture {
            Some(capture) if capture.is_buffering() => self.ticked + LOOK,
            _ => self.core.due(),
        }
    }

    fn act(&mut self) {
        let (at, seen) = self.server.act();
        self.ticked = self.ticked.max(at);
        self.see(at, seen);
    }

    fn tick(&mut self, at: Nanos) {
        self.ticked = at;
        self.release();
        if self.lost > 0 {
            let records = std::mem::take(&mut self.lost);
            let kind = "any".to_owned();
            self.tell(
                at,
                EventKind::RecordsLost {
                    kind,
                    records,
                    until: None,
                },
            );
        }
        self.tell(at, EventKind::Tick);
        let stacks = self.server.plan.stacks;
        if let Some(capture) = &mut self.capture
            && stacks
            && capture.begins_sample(at)
        {
            self.server.look(at);
        }
    }

    fn see(&mut self, at: Nanos, seen: Vec<EventKind>) {
        for what in seen {
            self.carry(Event { at, what });
        }
    }

    /// Answers are not lost, nor do they overtake.
    fn carry(&mut self, event: Event) {
        let Event { at, what } = event;
        if matches!(
            what,
            EventKind::GoroutinesSampled { .. } | EventKind::EntryFound { .. }
        ) {
            self.release();
            return self.tell(at, what);
        }
        if self.chance.per_mille(self.server.plan.lost) {
            self.lost += 1;
            return self.lost_ends.extend(wire::ends_wait_of(&what));
        }
        let held = self.held.take();
        let overtakes =
            |held: &Event| at - held.at <= MS && wire::doer(&held.what) != wire::doer(&what);
        if held.as_ref().is_some_and(overtakes) {
            self.tell(at, what);
            self.held = held;
            return self.release();
        }
        self.held = held;
        self.release();
        if self.chance.per_mille(self.server.plan.swapped) {
            self.held = Some(Event { at, what });
        } else {
            self.tell(at, what);
        }
    }

    fn release(&mut self) {
        if let Some(Event { at, what }) = self.held.take() {
            self.tell(at, what);
        }
    }

    fn tell(&mut self, at: Nanos, what: EventKind) {
        let event = Event { at, what };
        let Some(capture) = &mut self.capture else {
            return self.give(&event);
        };
        for given in capture.pass(event, &self.core) {
            self.give(&given);
        }
    }

    fn give(&mut self, event: &Event) {
        let at = event.at;
        let step = self.core.on(event);
        self.events.push(event.clone());
        self.findings.extend(step.findings);
        for question in step.queries {
            match question {
                Query::Goroutines => self.server.look(at.max(self.ticked)),
                Query::Entry(question) => self.server.search(at.max(self.ticked), question),
            }
        }
    }
}
