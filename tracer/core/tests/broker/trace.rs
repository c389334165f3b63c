//! The simulated server with the tracer's core beside it, and between them a channel that may lose events.

use test_events::{BEGAN, MS, Random, S, US};
use tracer_core::{Core, Query};
use tracer_model::{Event, EventKind, Finding, Hang, Nanos, Snapshot, Stalled};

use crate::{
    plan::Plan,
    server::{Request, Server},
    wire,
};

/// Longer than the core keeps anything.
const QUIET: Nanos = 320 * S;

/// A trace that has ended, and what really happened.
pub(crate) struct Trace {
    pub(crate) events: Vec<Event>,
    /// With the time at which each was reported.
    pub(crate) findings: Vec<(Nanos, Finding)>,
    pub(crate) requests: Vec<Request>,
    /// Whether the core had forgotten everything before the end.
    pub(crate) was_idle: bool,
    /// What it took to go on then.
    pub(crate) last: Snapshot,
    /// When the server had nothing more to do.
    pub(crate) over: Nanos,
}

impl Trace {
    pub(crate) fn hangs(&self) -> impl Iterator<Item = (Nanos, &Hang)> {
        self.findings
            .iter()
            .filter_map(|(at, finding)| match finding {
                Finding::Hang(hang) => Some((*at, &**hang)),
                _ => None,
            })
    }

    pub(crate) fn stalled(&self) -> impl Iterator<Item = &Stalled> {
        let findings = self.findings.iter();
        findings.filter_map(|(_, finding)| match finding {
            Finding::Stalled(stalled) => Some(&**stalled),
            _ => None,
        })
    }
}

struct Tracing {
    core: Core,
    server: Server,
    random: Random,
    events: Vec<Event>,
    findings: Vec<(Nanos, Finding)>,
    /// Events lost that were not reported yet.
    lost: u64,
    gap_until: Nanos,
    ticked: Nanos,
}

/// Runs it from the session to its end.
pub(crate) fn run(plan: &Plan) -> Trace {
    let mut tracing = Tracing {
        core: Core::new(),
        server: Server::new(plan.clone()),
        random: Random(!plan.seed),
        events: Vec::new(),
        findings: Vec::new(),
        lost: 0,
        gap_until: 0,
        ticked: BEGAN,
    };
    tracing.give(BEGAN, EventKind::Session(wire::session(plan)));
    for what in wire::prefaces(plan) {
        tracing.give(BEGAN + MS, what);
    }
    while let Some(next) = tracing.server.next() {
        tracing.pass(next);
        tracing.act();
        if tracing.server.requests.iter().all(|r| r.end.is_some()) && tracing.is_quiet() {
            break;
        }
    }
    let over = tracing.ticked;
    tracing.pass(over + 10 * S);
    tracing.report_loss(over + 10 * S);
    let links = tracing.server.links();
    for what in wire::goodbyes(plan, &links) {
        tracing.give(over + 10 * S, what);
    }
    tracing.pass(over + QUIET);
    let was_idle = tracing.core.is_idle();
    let last = tracing.core.snapshot(over + QUIET);
    tracing.give(over + QUIET, EventKind::End);
    Trace {
        events: tracing.events,
        findings: tracing.findings,
        requests: tracing.server.requests,
        was_idle,
        last,
        over,
    }
}

impl Tracing {
    fn is_quiet(&self) -> bool {
        self.server.workers.iter().all(|w| w.place.is_none())
    }

    /// Lets time pass, with what the core asks for meanwhile.
    fn pass(&mut self, until: Nanos) {
        loop {
            let due = self.core.due().max(self.ticked + MS);
            match self.server.next().filter(|next| *next < due.min(until)) {
                Some(_) => self.act(),
                None if due >= until => return,
                None => {
                    self.ticked = due;
                    self.give(due, EventKind::Tick);
                }
            }
        }
    }

    fn act(&mut self) {
        let (at, seen) = self.server.act();
        self.ticked = self.ticked.max(at);
        for what in seen {
            self.carry(at, what);
        }
    }

    /// Answers to queries are not lost.
    fn carry(&mut self, at: Nanos, what: EventKind) {
        let is_answer = matches!(
            what,
            EventKind::GoroutinesSampled { .. } | EventKind::EntryFound { .. }
        );
        if self.server.plan.has_gaps && self.random.per_mille(15) {
            self.gap_until = at + self.random.within(US, 6 * S);
        }
        let is_lost = at < self.gap_until || self.random.per_mille(self.server.plan.lost);
        if is_lost && !is_answer {
            self.lost += 1;
            return;
        }
        if !is_answer {
            self.report_loss(at);
        }
        self.give(at, what);
    }

    /// As the kernel side does: before the first record after the gap.
    fn report_loss(&mut self, at: Nanos) {
        let records = std::mem::take(&mut self.lost);
        if records > 0 {
            let kind = "any".to_owned();
            self.give(
                at,
                EventKind::RecordsLost {
                    kind,
                    records,
                    until: None,
                },
            );
        }
    }

    fn give(&mut self, at: Nanos, what: EventKind) {
        let event = Event { at, what };
        let step = self.core.on(&event);
        self.events.push(event);
        let findings = step.findings.into_iter().map(|finding| (at, finding));
        self.findings.extend(findings);
        for query in step.queries {
            match query {
                Query::Goroutines => self.server.sample(at.max(self.ticked)),
                // The file devices of this server do not fail.
                Query::FileSize(_) => {}
                Query::Entry(query) => self.server.search(at.max(self.ticked), query),
            }
        }
    }
}
