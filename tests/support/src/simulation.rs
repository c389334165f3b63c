//! A simulated server with the tracer's core beside it, and between them a channel that may lose or swap
//! what it carries.

mod request;
mod server;
mod wire;

use std::collections::HashSet;

use test_events::{BEGAN, MS, Random, S};
use tracer_core::{Core, Query};
use tracer_model::{Event, EventKind, Finding, Nanos};

use self::server::Server;
pub use self::{
    request::{Request, Wait},
    wire::{client, name},
};

/// Time between two samples while buffering, ns.
const INTERVAL: Nanos = 100 * MS;

/// Longer than the core keeps anything.
const QUIET: Nanos = 320 * S;

/// What an audit device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
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
pub struct Plan {
    /// Of all chance.
    pub seed: u64,
    /// The audit devices.
    pub devices: Vec<State>,
    /// How long a dial lasts, ns.
    pub timeout: Nanos,
    /// Clients, which are served side by side.
    pub clients: usize,
    /// Requests of each, one after another.
    pub each: usize,
    /// Whether requests arrive over HTTP/2, else HTTP/1.1.
    pub http2: bool,
    /// Whether goroutines can be sampled.
    pub stacks: bool,
    /// Whether the server's stacks say since when one queues.
    pub dates: bool,
    /// Whether the operator has named the devices.
    pub is_declared: bool,
    /// Of a thousand events, how many are lost, and how many are swapped with the next one if that
    /// comes within a millisecond and is another goroutine's: what one does is in order, on whichever
    /// processors.
    pub lost: u64,
    /// See `lost`.
    pub swapped: u64,
}

/// A trace that has ended, and what really happened.
pub struct SimulatedTrace {
    /// What the core got, from the session to the end.
    pub events: Vec<Event>,
    /// What the core reported.
    pub findings: Vec<Finding>,
    /// What really happened.
    pub requests: Vec<Request>,
    /// Requests of which the end of a wait was lost.
    pub endless: HashSet<usize>,
    /// Whether the core had forgotten everything before the end.
    pub was_idle: bool,
}

/// What is between the server and the core, and may buffer normal traffic.
pub trait Capture {
    /// Whether it buffers now.
    fn is_buffering(&self) -> bool;

    /// Whether to sample the server's goroutines.
    fn begins_sample(&mut self, now: Nanos) -> bool;

    /// The events that the core gets when this one happens. `core`: as it is before.
    fn pass(&mut self, event: Event, core: &Core) -> Vec<Event>;
}

/// The core gets all events.
struct Streaming;

impl Capture for Streaming {
    fn is_buffering(&self) -> bool {
        false
    }

    fn begins_sample(&mut self, _: Nanos) -> bool {
        false
    }

    fn pass(&mut self, event: Event, _: &Core) -> Vec<Event> {
        vec![event]
    }
}

struct Tracing<C> {
    core: Core,
    capture: C,
    server: Server,
    chance: Random,
    events: Vec<Event>,
    findings: Vec<Finding>,
    held: Option<Event>,
    /// Events lost since a loss was reported last.
    lost: u64,
    lost_ends: HashSet<u64>,
    ticked: Nanos,
}

/// Runs the simulation from the session to its end.
pub fn run(plan: &Plan) -> SimulatedTrace {
    run_through(Streaming, plan)
}

/// The same with this between the server and the core.
pub fn run_through(capture: impl Capture, plan: &Plan) -> SimulatedTrace {
    let mut tracing = Tracing {
        core: Core::new(),
        capture,
        server: Server::new(plan.clone()),
        chance: Random(!plan.seed),
        events: Vec::new(),
        findings: Vec::new(),
        held: None,
        lost: 0,
        lost_ends: HashSet::new(),
        ticked: BEGAN,
    };
    tracing.deliver(BEGAN, EventKind::Session(wire::session(plan)));
    tracing.see(BEGAN + MS, wire::prefaces(plan));
    tracing.work();
    let closed = tracing.ticked + S;
    tracing.pass(closed);
    tracing.see(closed, wire::goodbyes(plan));
    tracing.pass(closed + QUIET);
    let was_idle = tracing.core.is_idle();
    tracing.deliver(closed + QUIET, EventKind::End);
    let loses = |served: &&Request| tracing.lost_ends.contains(&wire::goid(plan, served));
    SimulatedTrace {
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

impl<C: Capture> Tracing<C> {
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
        if self.capture.is_buffering() {
            self.ticked + INTERVAL
        } else {
            self.core.due()
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
            self.deliver(
                at,
                EventKind::RecordsLost {
                    kind,
                    records,
                    until: None,
                },
            );
        }
        self.deliver(at, EventKind::Tick);
        if self.server.plan.stacks && self.capture.begins_sample(at) {
            self.server.sample(at);
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
            return self.deliver(at, what);
        }
        if self.chance.per_mille(self.server.plan.lost) {
            self.lost += 1;
            return self.lost_ends.extend(wire::ends_wait_of(&what));
        }
        let held = self.held.take();
        let overtakes = |held: &Event| {
            at - held.at <= MS && wire::goid_of_event(&held.what) != wire::goid_of_event(&what)
        };
        if held.as_ref().is_some_and(overtakes) {
            self.deliver(at, what);
            self.held = held;
            return self.release();
        }
        self.held = held;
        self.release();
        if self.chance.per_mille(self.server.plan.swapped) {
            self.held = Some(Event { at, what });
        } else {
            self.deliver(at, what);
        }
    }

    fn release(&mut self) {
        if let Some(Event { at, what }) = self.held.take() {
            self.deliver(at, what);
        }
    }

    fn deliver(&mut self, at: Nanos, what: EventKind) {
        let event = Event { at, what };
        for event in self.capture.pass(event, &self.core) {
            self.give(event);
        }
    }

    fn give(&mut self, event: Event) {
        let at = event.at;
        let step = self.core.on(&event);
        self.events.push(event);
        self.findings.extend(step.findings);
        for query in step.queries {
            match query {
                Query::Goroutines => self.server.sample(at.max(self.ticked)),
                Query::Entry(query) => self.server.search(at.max(self.ticked), query),
                // Its devices are sockets.
                Query::FileSize(_) => {}
            }
        }
    }
}
