//! A client's request, or as much as is known of what may be one.

use std::{collections::BTreeMap, net::SocketAddr};

use tracer_model::{
    Attribution, Device, EntryHead, Nanos, Op, Operation, Outcome, Phase, RequestInfo, RequestSeq,
    SocketId,
};

use crate::{
    request::{
        broker_stay::BrokerStays,
        lifecycle::{Signal, Stage},
        sink_phases::SinkPhases,
    },
    track::{
        client_connection::Stream,
        forward_wait::ForwardWait,
        sampled_wait::{OpenSampledWait, SampledWait},
    },
};

/// A request whose end cannot be seen is over when nothing was seen of it for so long, ns: longer than the 2 s that one
/// stall of the next phase may take to begin.
const IDLE: Nanos = 3_000_000_000;

/// A request that was seen to begin but never answered is given up after so long, ns: clients wait 60 s by default, and the
/// server works on after they left.
const NEVER_ANSWERED: Nanos = 300_000_000_000;

/// A request that has left the broker before its answer is at work: Vault gives it up after so long, ns
/// (`DefaultMaxRequestDuration`).
const MAX_DURATION: Nanos = 90_000_000_000;

/// Operations after which what no client is known of is taken to be over: one request has a few.
const MAX_OPERATIONS: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) seq: RequestSeq,
    /// Numbers of requests that turned out to be this one.
    pub(crate) aliases: Vec<RequestSeq>,
    /// On audit devices and what may be one, in the order in which they ended.
    pub(crate) operations: Vec<Operation>,
    /// The client's end of its connection.
    pub(crate) client: Option<SocketAddr>,
    pub(super) attribution: Option<Attribution>,
    /// Its first sign.
    pub(crate) start: Nanos,
    /// When it was answered, else its last sign.
    pub(crate) end: Nanos,
    /// Whether it came over a connection that carries several requests at once.
    pub(crate) is_stream: bool,
    /// That connection.
    pub(super) connection: Option<SocketId>,
    /// Its number on that connection, if no other request was under way there when it began.
    pub(super) lone_stream: Option<u64>,
    /// Its own goroutine.
    pub(crate) goid: Option<u64>,
    /// HTTP status of its answer, where it could be read.
    pub(crate) status: Option<u16>,
    /// When its client closed the connection, while it was under way.
    pub(super) client_gone: Option<Nanos>,
    /// The hangs that were reported while it was under way, by device.
    pub(crate) hang_ids: BTreeMap<Device, u64>,
    /// What it was found to be, other than by an entry that it wrote to a socket.
    pub(super) learnt: Option<EntryHead>,
    /// Its own goroutine, and others that were seen at work for it.
    pub(super) goroutines: Vec<u64>,
    /// Those that dial or wait for it in place of its own one.
    pub(super) dialers: Vec<u64>,
    /// What ties others than its own goroutine and that one's children to it.
    pub(super) merged_by: Option<Attribution>,
    pub(super) begin_seen: bool,
    pub(crate) stage: Stage,
    /// The id of an entry of which a write was seen to begin.
    pub(super) writing: Option<String>,
    /// How many of its operations go on.
    pub(super) open_operations: u32,
    /// When any of its goroutines last acted.
    pub(crate) last_act: Nanos,
    /// When each of its sinks last acted: they work side by side.
    pub(super) sink_acts: BTreeMap<u64, Nanos>,
    pub(super) sink_phases: SinkPhases,
    /// When it was last seen to act, or sampled in a wait.
    pub(super) last_sign: Nanos,
    /// When it last acted, or was sampled, before records were lost.
    pub(super) certain_until: Nanos,
    /// What each of its goroutines was sampled waiting for since it last acted.
    pub(super) sampled_waits: BTreeMap<u64, SampledWait>,
    pub(super) stays: BrokerStays,
    /// Its wait for the active node of the cluster.
    pub(super) forward: Option<ForwardWait>,
    /// When a sample last found its own goroutine in the broker, or a sink of it while that goroutine lived.
    pub(super) last_in_broker: Option<Nanos>,
    /// For which entry it was there, as the last sample that found it there says.
    pub(super) phase_in_broker: Option<Phase>,
    /// When it began, at the earliest; `start` if that was seen.
    pub(super) earliest_start: Nanos,
    /// It has left the broker for the last time, as far as can be seen: the next frame may be its answer.
    pub(super) awaits_answer: bool,
    /// The first frame since a sample last found it in the broker, once its connection is gone.
    pub(super) last_frame_to_it: Option<Nanos>,
    /// So long after its end it may have been answered, ns, where one of several frames was its answer.
    pub(super) may_go_on: Nanos,
}

impl Request {
    /// What was known by the one address is the other device's.
    pub(super) fn rename(&mut self, from: &Device, to: &Device) {
        let devices = self
            .operations
            .iter_mut()
            .map(|operation| &mut operation.device);
        for device in devices.filter(|device| **device == *from) {
            device.clone_from(to);
        }
        let waits = self.sampled_waits.values_mut();
        waits.for_each(|wait| wait.rename(from, to));
        if let Some(hang) = self.hang_ids.remove(from) {
            self.hang_ids.entry(to.clone()).or_insert(hang);
        }
    }

    pub(super) fn new(seq: RequestSeq, at: Nanos, goid: u64) -> Self {
        Self {
            seq,
            aliases: Vec::new(),
            operations: Vec::new(),
            client: None,
            attribution: None,
            start: at,
            end: at,
            is_stream: false,
            connection: None,
            lone_stream: None,
            goid: (goid != 0).then_some(goid),
            status: None,
            client_gone: None,
            hang_ids: BTreeMap::new(),
            learnt: None,
            goroutines: vec![goid],
            dialers: Vec::new(),
            merged_by: None,
            begin_seen: false,
            stage: Stage::Unattributed,
            writing: None,
            open_operations: 0,
            last_act: at,
            sink_acts: BTreeMap::new(),
            sink_phases: SinkPhases::default(),
            last_sign: at,
            certain_until: at,
            sampled_waits: BTreeMap::new(),
            stays: BrokerStays::default(),
            forward: None,
            last_in_broker: None,
            phase_in_broker: None,
            earliest_start: at,
            awaits_answer: false,
            last_frame_to_it: None,
            may_go_on: 0,
        }
    }

    pub(super) fn kept(&self) -> usize {
        1 + self.operations.len()
            + self.goroutines.len()
            + self.dialers.len()
            + self.sampled_waits.len()
            + self.sink_acts.len()
            + self.sink_phases.len()
    }

    /// Something shows that its goroutine works on this request at this time. What came before a loss does not say what came
    /// after it.
    pub(super) fn confirm(&mut self, at: Nanos, doubt_until: Nanos) {
        self.certain_until = self.certain_until.max(at);
        if at > doubt_until {
            self.signal(Signal::Confirmed);
        }
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.stage = self.stage.after(signal);
        if signal == Signal::RecordsLost {
            self.certain_until = self.last_sign;
        }
    }

    /// The connection and goroutine of a request that shares its connection with others.
    pub(super) fn stream(&self) -> Option<Stream> {
        Some((self.connection?, *self.goroutines.first()?))
    }

    pub(super) fn is_stream_of(&self, id: SocketId) -> bool {
        self.is_stream && self.connection == Some(id)
    }

    /// Whether it may be part of another one.
    pub(super) fn is_unattributed(&self) -> bool {
        self.goid.is_some() && self.stage == Stage::Unattributed
    }

    /// What its own entries say of it, the most complete first.
    pub(crate) fn entry(&self) -> Option<&EntryHead> {
        let own = self.operations.iter().filter_map(|o| o.entry.as_ref());
        let entries = || own.clone().chain(&self.learnt);
        entries()
            .find(|entry| entry.id.is_some())
            .or_else(|| entries().next())
    }

    fn id(&self) -> Option<&String> {
        let known = self.entry().and_then(|entry| entry.id.as_ref());
        known.or(self.writing.as_ref())
    }

    /// Whether the entry is another request's.
    pub(super) fn is_contradicted_by(&self, entry: &EntryHead) -> bool {
        let ids = self.id().zip(entry.id.as_ref());
        ids.is_some_and(|(own, id)| own != id)
    }

    /// Whether the entry has the id that this request is known by.
    pub(super) fn is_confirmed_by(&self, entry: &EntryHead) -> bool {
        self.id().is_some() && self.id() == entry.id.as_ref()
    }

    /// Takes what was found of it elsewhere: in the arguments on a stack, in an audit file.
    pub(crate) fn learn(&mut self, entry: &EntryHead) {
        self.learnt.get_or_insert_with(|| entry.clone());
    }

    /// Whether something of it waits for a socket.
    pub(crate) fn has_open_operations(&self) -> bool {
        self.open_operations > 0
    }

    /// Whether a client waits for its answer.
    pub(crate) fn is_of_a_client(&self) -> bool {
        self.client.is_some() && !self.stage.is_over()
    }

    /// Whether it is a client's and does nothing that a socket would show.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_of_a_client() && !self.has_open_operations()
    }

    /// Whether an audit device blocks it, or has blocked it for as long as a hang is.
    pub(crate) fn is_blocked(&self, threshold: Nanos) -> bool {
        let waited: Nanos = self.operations.iter().map(Operation::duration).sum();
        waited >= threshold || self.has_open_operations() || self.open_waits().next().is_some()
    }

    /// What ties its operations to it: where other goroutines than its own did them, how that is known.
    pub(crate) fn attribution(&self) -> Option<Attribution> {
        match self.attribution {
            Some(Attribution::Goroutine) => self.merged_by.or(self.attribution),
            attribution => attribution,
        }
    }

    /// What its goroutines were sampled waiting for and still do.
    pub(crate) fn open_waits(&self) -> impl Iterator<Item = OpenSampledWait<'_>> {
        self.sampled_waits.values().filter_map(SampledWait::open)
    }

    /// Of these, those in the device itself; whoever queues for it does so behind one of them.
    pub(crate) fn open_stalls(&self) -> impl Iterator<Item = OpenSampledWait<'_>> {
        self.open_waits().filter(|wait| wait.sample.op != Op::Lock)
    }

    pub(crate) fn mark_waits_reported(&mut self) {
        self.sampled_waits
            .values_mut()
            .for_each(SampledWait::mark_reported);
    }

    /// What is known of it.
    pub(crate) fn info(&self) -> RequestInfo {
        let entry = self.entry();
        let http_version = if self.is_stream { "2" } else { "1.1" };
        let mut info = RequestInfo {
            client: self.client,
            http_version: self.client.map(|_| http_version),
            start: self.start,
            duration: self.end.saturating_sub(self.start),
            lower_bound: !(self.begin_seen && self.stage == Stage::Answered),
            tie: self.attribution(),
            status: self.status,
            client_gone: self.client_gone.filter(|gone| *gone < self.end),
            ..RequestInfo::default()
        };
        if let Some(entry) = entry {
            info.learn(entry);
        }
        info
    }

    /// Whether it has both its entries behind it, as samples say.
    pub(super) fn has_left_for_answer(&self) -> bool {
        self.awaits_answer && self.phase_in_broker == Some(Phase::Response)
    }

    /// Whether it is in the broker, as far as samples say.
    pub(crate) fn is_in_broker(&self) -> bool {
        self.stays.is_inside()
    }

    /// Whether no device was seen to take an entry of it, and one failed: the server answers at once then.
    pub(super) fn has_failed(&self) -> bool {
        let took = |o: &Operation| o.op == Op::Write && o.outcome == Some(Outcome::Ok);
        self.operations.iter().any(Operation::failed) && !self.operations.iter().any(took)
    }

    /// Whether it is no client's, as far as is known, and has done more than one request does: its goroutine may have
    /// connections of its own, which are never idle for long.
    pub(super) fn never_rests(&self) -> bool {
        let is_open = self.has_open_operations() || self.open_waits().next().is_some();
        self.stage == Stage::Unattributed && self.operations.len() >= MAX_OPERATIONS && !is_open
    }

    pub(super) fn is_idle(&self, now: Nanos) -> bool {
        let works = self.phase_in_broker == Some(Phase::Request) && !self.awaits_answer;
        let patience = match self.attribution {
            Some(Attribution::Goroutine) => NEVER_ANSWERED,
            _ if works && self.is_stream => MAX_DURATION,
            _ => IDLE,
        };
        self.open_operations == 0 && now.saturating_sub(self.last_sign) > patience
    }
}
