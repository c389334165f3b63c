//! Which request is which. A request that found its device without a connection wrote nothing to a
//! socket: its ID is in the audit file beside it, or in the server's own memory. Who has waited for
//! another one wants to name that one too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tracer_model::EntryQuery;

use crate::{hang::Verdict, request::Request};
use tracer_model::RequestSeq;
use tracer_model::{EntryHead, Nanos};

/// Finished requests that are remembered: what queued behind them may still be under way.
const REMEMBERED: usize = 1 << 12;

/// What is known of a request's name.
#[derive(Clone, Debug, PartialEq)]
enum Name {
    /// This.
    Known(EntryHead),
    /// It was asked for.
    Asked(EntryQuery),
    /// Nobody knows.
    Unknown,
}

/// Names of requests that matter to a verdict.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<RequestSeq, Name>,
    order: VecDeque<RequestSeq>,
    held: Vec<PendingVerdict>,
}

/// Verdicts on one request that wait for names.
#[derive(Debug)]
struct PendingVerdict {
    own: RequestSeq,
    verdicts: Vec<Verdict>,
    wants: BTreeSet<RequestSeq>,
}

impl Names {
    /// How many verdicts wait for answers.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// How many things are kept.
    pub fn kept(&self) -> usize {
        self.known.len() + self.order.len() + self.held.len()
    }

    /// Verdicts that wait.
    pub fn held(&self) -> impl Iterator<Item = &Verdict> {
        self.held.iter().flat_map(|held| &held.verdicts)
    }

    /// Takes what is known of a request.
    pub fn know(&mut self, request: &Request) {
        if let Some(entry) = request.entry().filter(|entry| entry.id.is_some()) {
            for serial in request.aliases.iter().chain([&request.serial]) {
                self.insert(*serial, Name::Known(entry.clone()));
            }
        }
    }

    /// There may be an answer later.
    pub fn forget(&mut self, serial: RequestSeq) {
        self.known.remove(&serial);
        self.order.retain(|other| *other != serial);
    }

    /// Somebody is asked for the name of a request.
    pub fn ask(&mut self, serial: RequestSeq, question: EntryQuery) {
        self.insert(serial, Name::Asked(question));
    }

    fn insert(&mut self, serial: RequestSeq, name: Name) {
        if self.known.insert(serial, name).is_none() {
            self.order.push_back(serial);
        }
        if self.order.len() > REMEMBERED
            && let Some(eldest) = self.order.pop_front()
        {
            self.known.remove(&eldest);
        }
    }

    /// Takes the answer to a question; returns whose it is.
    pub fn answer(&mut self, asked: &EntryQuery, entry: Option<&EntryHead>) -> Vec<RequestSeq> {
        let is_asked = |(serial, name): (&RequestSeq, &Name)| {
            matches!(name, Name::Asked(question) if question.is_answered_by(asked))
                .then_some(*serial)
        };
        let of: Vec<_> = self.known.iter().filter_map(is_asked).collect();
        // Two that asked alike cannot both have written it; nor is another's entry theirs.
        let is_anothers = |entry: &EntryHead| {
            let known = |name: &Name| matches!(name, Name::Known(known) if known.id == entry.id);
            of.len() > 1 || self.known.values().any(known)
        };
        let entry = entry.filter(|entry| !is_anothers(entry));
        for serial in &of {
            let name = entry.map_or(Name::Unknown, |entry| Name::Known(entry.clone()));
            self.known.insert(*serial, name);
        }
        of
    }

    /// The name of a request, if it is known.
    pub fn get(&self, serial: RequestSeq) -> Option<&EntryHead> {
        match self.known.get(&serial)? {
            Name::Known(entry) => Some(entry),
            _ => None,
        }
    }

    /// Verdicts on `own` that are not to be told before the names of these requests are known.
    pub fn hold(&mut self, own: RequestSeq, verdicts: Vec<Verdict>, wants: BTreeSet<RequestSeq>) {
        self.held.push(PendingVerdict {
            own,
            verdicts,
            wants,
        });
    }

    /// Verdicts that wait for nothing any more, named; all of them if nothing more is to come.
    pub fn release(&mut self, all: bool) -> Vec<Verdict> {
        let names = &self.known;
        let is_open = |serial: &RequestSeq| matches!(names.get(serial), Some(Name::Asked(_)));
        let ready: Vec<_> = self
            .held
            .extract_if(.., |held| all || !held.wants.iter().any(is_open))
            .collect();
        ready
            .into_iter()
            .flat_map(|held| self.named(held))
            .collect()
    }

    fn named(&self, held: PendingVerdict) -> Vec<Verdict> {
        let mut verdicts = held.verdicts;
        for verdict in &mut verdicts {
            if let Some(entry) = self.get(held.own) {
                verdict.request_mut().learn(entry);
            }
            for stall in verdict.stalls_mut() {
                let blocker = stall.behind.and_then(|serial| self.get(serial));
                stall.blocked_by = blocker.and_then(|entry| entry.id.clone());
            }
        }
        verdicts
    }
}

/// Not before, and not after: the wall clock's nanoseconds of two moments.
pub fn question(
    request: &Request,
    until: Nanos,
    wall: impl Fn(Nanos) -> i64,
) -> Option<EntryQuery> {
    Some(EntryQuery {
        client_port: request.client?.port(),
        not_before: wall(request.start),
        not_after: wall(until),
    })
}
