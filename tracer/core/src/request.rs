//! The client requests that the server works on, and what each did on audit devices.
//!
//! In HTTP/1.1 one goroutine reads a request, audits it, works, audits the answer and writes it
//! (`net/http` `conn.serve`), so what happens on any socket in that goroutine, or in one it started
//! (`net` dials several addresses in parallel), belongs to that request. In HTTP/2 the connection's
//! goroutine starts one for each request (`http2serverConn.runHandler`); nothing it does itself
//! shows where the request begins and ends. Vault since 1.15 writes each entry in goroutines of
//! their own, one for each sink, whose grandparent is the request's (`hashicorp/eventlogger`,
//! `graph.go`): only their stacks tell.

use tracer_model::Attribution;
use tracer_model::RequestSeq;
mod client;
mod table;

use std::{collections::BTreeMap, net::SocketAddr};

use self::client::Stream;
pub use self::table::Requests;
use crate::sampled_wait::{Ends, OpenWait, SampledWait, StackSample};
use tracer_model::{Actor, Device, EntryHead, Nanos, SocketId};
use tracer_model::{Op, Operation};

/// A request whose end cannot be seen is over when nothing was seen of it for so long, ns. Longer
/// than the 2 s that one stall of the next phase may take to begin.
const IDLE: Nanos = 3_000_000_000;

/// A request that was seen to begin but never answered is given up after so long, ns: clients wait
/// 60 s by default, and the server works on after they left.
const ABANDONED: Nanos = 300_000_000_000;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    UnderWay,
    /// Only sinks that it did not wait for may still be at work.
    Answered,
    /// Its client has gone; the same otherwise.
    Abandoned,
    /// No request any more, but a sink that outlived it.
    Outlived,
}

/// A client's request, or as much as is known of what may be one.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which one.
    pub serial: RequestSeq,
    /// What it was thought to be as well, until these were found to be the same.
    pub aliases: Vec<RequestSeq>,
    /// What it did on audit devices, in the order in which that ended.
    pub operations: Vec<Operation>,
    /// The client's end of its connection.
    pub client: Option<SocketAddr>,
    /// What ties the operations to it.
    tie: Option<Attribution>,
    /// Its first sign of life.
    pub start: Nanos,
    /// When it was answered, else its last sign of life.
    pub end: Nanos,
    /// Whether it came over a connection that carries several requests at once.
    pub multiplexed: bool,
    /// The connection, then.
    connection: Option<SocketId>,
    /// Its goroutine.
    pub goid: Option<u64>,
    /// HTTP status of its answer, where it could be read.
    pub status: Option<u16>,
    /// The hangs that were told of while under way, by device.
    pub hangs: BTreeMap<Device, u64>,
    /// What it was found to be, other than by an entry it wrote to a socket.
    learnt: Option<EntryHead>,
    /// Its own goroutine, and others that were seen at work for it.
    goroutines: Vec<u64>,
    /// What ties others than its own and their children to it, if there are any.
    kin: Option<Attribution>,
    /// Whether its beginning was seen.
    begun: bool,
    stage: Stage,
    /// How many operations wait now.
    waiting: u32,
    /// When any of its goroutines last acted.
    acted: Nanos,
    /// When it was last seen, or found waiting.
    alive: Nanos,
    /// What each of its goroutines was seen waiting for since it last acted.
    silences: BTreeMap<u64, SampledWait>,
}

impl Request {
    fn new(serial: RequestSeq, at: Nanos, goid: u64) -> Self {
        Self {
            serial,
            aliases: Vec::new(),
            operations: Vec::new(),
            client: None,
            tie: None,
            start: at,
            end: at,
            multiplexed: false,
            connection: None,
            goid: (goid != 0).then_some(goid),
            status: None,
            hangs: BTreeMap::new(),
            learnt: None,
            goroutines: vec![goid],
            kin: None,
            begun: false,
            stage: Stage::UnderWay,
            waiting: 0,
            acted: at,
            alive: at,
            silences: BTreeMap::new(),
        }
    }

    fn kept(&self) -> usize {
        1 + self.operations.len() + self.goroutines.len() + self.silences.len()
    }

    /// Of which connection it is a part, if that carries several.
    fn stream(&self) -> Option<Stream> {
        Some((self.connection?, *self.goroutines.first()?))
    }

    /// Whether it may be part of another one: a goroutine's of which no more is known yet.
    fn is_orphan(&self) -> bool {
        self.goid.is_some() && self.client.is_none() && self.stage == Stage::UnderWay
    }

    /// What its own entries said of it, most knowing first.
    pub fn entry(&self) -> Option<&EntryHead> {
        let entries = || {
            self.operations
                .iter()
                .filter_map(|o| o.entry.as_ref())
                .chain(&self.learnt)
        };
        entries()
            .find(|e| e.id.is_some())
            .or_else(|| entries().next())
    }

    /// Whether both its beginning and its answer were seen.
    pub fn is_whole(&self) -> bool {
        self.begun && self.stage == Stage::Answered
    }

    /// Whether it holds up nobody: what a sink does of whose request all has been told.
    pub fn is_outlived(&self) -> bool {
        self.stage == Stage::Outlived
    }

    /// Takes what its goroutines say of it. When it has been answered, that is of the next one.
    pub fn hears(&mut self, entry: &EntryHead) {
        if self.stage == Stage::UnderWay {
            self.learn(entry);
        }
    }

    /// Takes what was found of it elsewhere.
    pub fn learn(&mut self, entry: &EntryHead) {
        self.learnt.get_or_insert_with(|| entry.clone());
    }

    /// Whether something of it waits for a socket.
    pub fn waits(&self) -> bool {
        self.waiting > 0
    }

    /// Whether a client waits for its answer.
    pub fn is_of_a_client(&self) -> bool {
        self.client.is_some() && self.stage == Stage::UnderWay
    }

    /// Whether it is a client's and makes no sign, as far as sockets tell.
    pub fn is_silent(&self) -> bool {
        self.client.is_some() && !self.waits() && self.stage == Stage::UnderWay
    }

    /// What ties its operations to it: where others than its own goroutine did them, how that is known.
    pub fn tie(&self) -> Option<Attribution> {
        match self.tie {
            Some(Attribution::Goroutine) => self.kin.or(self.tie),
            tie => tie,
        }
    }

    /// What its goroutines wait for that no socket tells, as far as found.
    pub fn open_waits(&self) -> impl Iterator<Item = OpenWait<'_>> {
        self.silences.values().filter_map(SampledWait::open)
    }

    /// Of these, those in the device itself; who queues for it does so behind one of them.
    pub fn open_stalls(&self) -> impl Iterator<Item = OpenWait<'_>> {
        self.open_waits().filter(|wait| wait.look.op != Op::Lock)
    }

    /// Marks those waits as told.
    pub fn tell(&mut self) {
        self.silences.values_mut().for_each(SampledWait::tell);
    }

    /// Takes where one of its goroutines was found, which was nowhere before `since`.
    fn found(&mut self, at: Nanos, goid: u64, since: Nanos, look: Option<StackSample>) {
        if at <= self.acted {
            // It has acted since it was looked at.
            return;
        }
        if let Some(look) = &look {
            self.alive = at;
            // It was there before anything else was seen of it.
            if !self.begun {
                self.start = self.start.min(look.since.unwrap_or(at));
            }
        }
        let is_seen = self.acted >= since;
        let since = self.acted.max(since);
        let silence = self.silences.entry(goid);
        silence
            .or_insert_with(|| SampledWait::since(since, is_seen))
            .look(at, look);
    }

    /// One of its goroutines acts again: what its silence was is known now.
    fn acts(&mut self, at: Nanos, goid: u64) {
        if let Some(silence) = self.silences.remove(&goid) {
            self.take(goid, &silence, Ends::Acts(at));
        }
        self.acted = self.acted.max(at);
        self.lives_until(at);
        self.alive = self.alive.max(at);
    }

    /// Another sign of it; what its sinks do when it has been answered is none.
    fn lives_until(&mut self, at: Nanos) {
        if self.stage == Stage::UnderWay {
            self.end = self.end.max(at);
        }
    }

    /// Nothing more is to come of it.
    fn ends(&mut self, ends: Ends) {
        for (goid, silence) in std::mem::take(&mut self.silences) {
            self.take(goid, &silence, ends);
        }
        if let Ends::Acts(at) | Ends::Cut(at) = ends {
            self.lives_until(at);
        }
    }

    /// It goes on without its sinks that queue for a device.
    fn leaves_queues(&mut self, at: Nanos) {
        let queues = |_: &u64, silence: &mut SampledWait| {
            silence.open().is_none_or(|wait| wait.look.op == Op::Lock)
        };
        for (goid, silence) in self.silences.extract_if(.., queues).collect::<Vec<_>>() {
            self.take(goid, &silence, Ends::Acts(at));
        }
    }

    fn take(&mut self, goid: u64, silence: &SampledWait, ends: Ends) {
        let by = Actor {
            goid: Some(goid),
            ..Actor::default()
        };
        let waits = silence.end(by, ends);
        self.lives_until(waits.iter().map(|wait| wait.end).max().unwrap_or(0));
        self.operations.extend(waits);
    }

    /// Takes over what was thought to be another.
    fn absorb(&mut self, other: Self) {
        self.aliases.push(other.serial);
        self.aliases.extend(other.aliases);
        self.operations.extend(other.operations);
        self.operations.sort_by_key(|operation| operation.end);
        self.waiting += other.waiting;
        self.hangs.extend(other.hangs);
        self.silences.extend(other.silences);
        if !self.begun {
            self.start = self.start.min(other.start);
        }
        self.lives_until(other.end);
        self.alive = self.alive.max(other.alive);
        self.learnt = self.learnt.take().or(other.learnt);
    }

    fn is_over(&self, now: Nanos) -> bool {
        let patience = if self.tie == Some(Attribution::Goroutine) {
            ABANDONED
        } else {
            IDLE
        };
        self.waiting == 0 && now.saturating_sub(self.alive) > patience
    }
}
