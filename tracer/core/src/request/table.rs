//! All requests under way, and what events make of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_model::{
    Actor, BufferedTotals, Device, EntryHead, NEGLIGIBLE_WAIT, Nanos, Op, Operation, Outcome,
    RequestSeq,
};

use crate::{
    request::{
        counts::RequestCounts,
        entry_clients::EntryClients,
        lifecycle::{Signal, Stage},
        recently_finished::RecentlyFinished,
        request::Request,
    },
    track::{
        client_connection::ClientConnections, sampled_wait::StackSample, stall_periods::StallPeriod,
    },
};

/// What a goroutine does, as far as it tells for which request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act<'a> {
    /// It dials. `net` dials several addresses in goroutines of their own (`net/dial.go`, `dialParallel`).
    Dial,
    /// It writes, with the audit entry that begins there if one does.
    Write(Option<&'a EntryHead>),
}

impl<'a> Act<'a> {
    /// What makes such an operation, with the entry that begins in it.
    pub(crate) fn of(op: Op, entry: Option<&'a EntryHead>) -> Self {
        match op {
            Op::Connect => Self::Dial,
            _ => Self::Write(entry),
        }
    }
}

/// Requests under way, and the goroutines that work for them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(super) connections: ClientConnections,
    /// Boxed: `Request` is large and `BTreeMap` moves its values.
    pub(super) open: BTreeMap<RequestSeq, Box<Request>>,
    /// Which request a goroutine works for. Goroutine 0 collects what no goroutine is known for.
    pub(super) works: FxHashMap<u64, RequestSeq>,
    /// Requests that are alone on their connections, by the client's port.
    pub(super) ports: BTreeSet<(u16, RequestSeq)>,
    pub(crate) finished: RecentlyFinished,
    last_seq: RequestSeq,
    pub(crate) counts: RequestCounts,
    /// Requests that are over and have not been taken.
    concluded: Vec<Request>,
    /// Whom entries name as their client.
    pub(crate) entry_clients: EntryClients,
    /// Records were lost before this time, among those that have it at the latest.
    pub(super) doubt_until: Nanos,
    /// `CLOCK_REALTIME` - `CLOCK_MONOTONIC`, ns: entries bear wall-clock times.
    pub(crate) wall_offset: i64,
}

impl Requests {
    /// The kernel side ceased to buffer at this time: in-flight requests have finished or are sent again.
    pub(crate) fn reset(&mut self, until: Nanos, totals: &BufferedTotals) {
        self.connections = ClientConnections::default();
        self.open.clear();
        self.works.clear();
        self.ports.clear();
        self.counts.buffered(until, totals);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.open.is_empty() && self.works.is_empty()
    }

    /// How many things are kept.
    pub(crate) fn kept(&self) -> usize {
        let requests: usize = self.open.values().map(|request| request.kept()).sum();
        let indexed = self.works.len() + self.ports.len();
        self.connections.kept() + requests + indexed + self.finished.kept()
    }

    /// All that are under way, oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Request> {
        self.open.values().map(|request| &**request)
    }

    /// See [`ClientConnections::unanswered_since`].
    pub(crate) fn unanswered_since(&self, since: Nanos) -> Option<Nanos> {
        self.connections.unanswered_since(since)
    }

    pub(crate) fn get(&self, seq: RequestSeq) -> Option<&Request> {
        self.open.get(&seq).map(|request| &**request)
    }

    pub(crate) fn get_mut(&mut self, seq: RequestSeq) -> Option<&mut Request> {
        self.open.get_mut(&seq).map(|request| &mut **request)
    }

    /// The request that a goroutine works for.
    pub(crate) fn of(&self, goid: u64) -> Option<&Request> {
        self.get(*self.works.get(&goid)?)
    }

    /// Requests that have ended since the last call.
    pub(crate) fn take_concluded(&mut self) -> Vec<Request> {
        mem::take(&mut self.concluded)
    }

    pub(super) fn add(&mut self, at: Nanos, goid: u64) -> &mut Request {
        self.last_seq += 1;
        let seq = self.last_seq;
        self.works.insert(goid, seq);
        self.open
            .entry(seq)
            .or_insert_with(|| Box::new(Request::new(seq, at, goid)))
    }

    /// Gives a request a signal, and takes it out of all tables if that ends it.
    pub(super) fn finish(&mut self, seq: RequestSeq, signal: Signal, at: Nanos) {
        let Some(request) = self.open.get_mut(&seq) else {
            return;
        };
        let is_own = matches!(signal, Signal::Answered | Signal::ClientClosed);
        if is_own && !request.is_stream && request.stage != Stage::InDoubt {
            let goid = request.goid.unwrap_or(0);
            request.acts(at, goid);
        }
        let was_in_doubt = request.stage == Stage::InDoubt;
        request.signal(signal);
        if !request.stage.is_over() {
            return;
        }
        let Some(mut request) = self.remove(seq) else {
            return;
        };
        let is_uncertain = was_in_doubt && matches!(request.stage, Stage::EndUnseen | Stage::Cut);
        request.conclude(if is_uncertain {
            request.certain_end()
        } else {
            at
        });
        self.counts.ended(&request, signal);
        self.concluded.push(request);
    }

    /// When the first frame was sent on a stream's connection since a sample last found it in the broker: nothing shows that a
    /// device blocked it for longer.
    pub(super) fn frame_to(&self, seq: RequestSeq) -> Option<Nanos> {
        let request = self.get(seq).filter(|request| request.is_stream)?;
        let connection = request.connection.and_then(|id| self.connections.get(id));
        let last = request.last_in_broker?;
        let frame = connection.and_then(|connection| connection.first_frame_after(last));
        frame.or(request.last_frame_to_it)
    }

    /// What seemed to be a request was none.
    pub(super) fn forget(&mut self, goid: u64) {
        if let Some(seq) = self.works.get(&goid).copied() {
            self.remove(seq);
        }
    }

    fn remove(&mut self, seq: RequestSeq) -> Option<Request> {
        let request = *self.open.remove(&seq)?;
        self.connections.mark_finished(request.stream());
        if let Some(client) = request.client {
            self.ports.remove(&(client.port(), seq));
        }
        for goid in &request.goroutines {
            if self.works.get(goid) == Some(&seq) {
                self.works.remove(goid);
            }
            self.finished.finished(*goid, request.last_act);
            if Some(*goid) != request.goid && *goid != 0 {
                self.finished.detach(*goid);
            }
        }
        Some(request)
    }

    /// A goroutine begins to wait for a device. Returns its request, unless that is over.
    pub(crate) fn wait_began(&mut self, at: Nanos, by: Actor, act: Act<'_>) -> Option<RequestSeq> {
        let seq = self.attribute(at, by, act)?;
        let request = self.open.get_mut(&seq)?;
        request.acts(at, by.goid.unwrap_or(0));
        let entry = match act {
            Act::Write(entry) => entry,
            Act::Dial => None,
        };
        request.operation_began(entry);
        Some(seq)
    }

    /// An operation is over; `waited`: [`Self::wait_began`] was called for it.
    pub(crate) fn operation_ended(&mut self, operation: Operation, waited: bool) {
        let act = Act::of(operation.op, operation.entry.as_ref());
        let begun = if waited {
            self.of_wait_that_ended(&operation)
        } else {
            None
        };
        let seq = begun.or_else(|| self.attribute(operation.start, operation.by, act));
        let Some(seq) = seq else { return };
        if let Some(request) = self.open.get_mut(&seq) {
            let is_own = request.goid.is_some() && request.goid == operation.by.goid;
            let known = request.client.zip(operation.entry.as_ref());
            if let Some((client, entry)) = known.filter(|_| is_own && !request.is_stream) {
                self.entry_clients.learn(client, entry);
            }
            let at = operation.end;
            request.operation_ended(operation, waited);
            let stream = request.stream();
            let never_rests = request.never_rests();
            self.connections.mark_active(stream);
            if never_rests {
                self.finish(seq, Signal::Idle, at);
            }
        }
    }

    /// The request in doubt for which a wait began that is over now. If its end was seen, it was still this request then.
    fn of_wait_that_ended(&mut self, operation: &Operation) -> Option<RequestSeq> {
        let doubt_until = self.doubt_until;
        let seq = *self.works.get(&operation.by.goid?)?;
        let request = self.open.get_mut(&seq)?;
        let is_its = request.stage == Stage::InDoubt
            && request.has_open_operations()
            && operation.start >= request.start;
        if is_its && operation.outcome.is_some() {
            request.confirm(operation.end, doubt_until);
        }
        is_its.then_some(seq)
    }

    /// A goroutine that was silent while others were stalled in the device now uses it itself: without stacks, that is all
    /// that shows that it queued.
    pub(crate) fn infer_queueing(
        &mut self,
        at: Nanos,
        by: Actor,
        act: Act<'_>,
        (device, stall): (&Device, StallPeriod),
    ) {
        let Some(seq) = self.attribute(at, by, act) else {
            return;
        };
        let Some(request) = self.open.get_mut(&seq) else {
            return;
        };
        let start = request.last_act.max(stall.since);
        if stall.by == Some(seq) || at.saturating_sub(start) < NEGLIGIBLE_WAIT {
            return;
        }
        request.operations.push(Operation {
            outcome: Some(Outcome::Ok),
            blocked_by: stall.by,
            inferred: true,
            ..Operation::new(Op::Lock, device.clone(), by, (start, at))
        });
        request.last_act = at;
        request.extend_to(at);
    }

    /// Takes a sample of a goroutine of a request.
    pub(crate) fn sampled(
        &mut self,
        at: Nanos,
        (seq, goid): (RequestSeq, u64),
        since: Nanos,
        sample: StackSample,
    ) {
        if let Some(request) = self.open.get_mut(&seq) {
            request.sampled(at, goid, since, Some(sample));
            let stream = request.stream();
            self.connections.mark_active(stream);
        }
    }

    /// The goroutines that a sample found anywhere; no others wait in a device's code.
    pub(crate) fn sampled_no_others(&mut self, at: Nanos, found: &FxHashSet<u64>) {
        for request in self.open.values_mut() {
            let mut missing: Vec<_> = request.sampled_goroutines().collect();
            // While one of its goroutines waits at a socket, its own may do so too.
            let is_silent = !request.has_open_operations();
            missing.extend(request.goid.filter(|_| is_silent));
            missing.retain(|goid| !found.contains(goid));
            missing.dedup();
            for goid in missing {
                request.sampled(at, goid, 0, None);
                self.connections.mark_active(request.stream());
            }
        }
    }

    /// Records were lost: what is under way may be over, and its goroutine at work for the next request.
    /// `until`: what follows may have come before the loss, up to this time.
    pub(crate) fn records_lost(&mut self, until: Option<Nanos>) {
        self.doubt_until = until.unwrap_or(0).max(self.doubt_until);
        for request in self.open.values_mut() {
            request.signal(Signal::RecordsLost);
        }
        self.connections.forget_received();
    }

    /// Whether a request that is under way, and began by the end of this time, has used this device in it or later. One that uses
    /// a device at this moment may be using this one.
    pub(crate) fn use_device(&self, device: &Device, (since, until): (Nanos, Nanos)) -> bool {
        let began = |request: &&Request| request.start.min(request.earliest_start) <= until;
        self.all().filter(began).any(|request| {
            let is_late = |o: &Operation| o.end >= since || request.has_open_operations();
            let mut operations = request.operations.iter();
            operations.any(|o| o.device == *device && is_late(o))
                || request.open_waits().any(|w| w.sample.device == *device)
        })
    }

    /// What was known by the one address is the other device's.
    pub(crate) fn rename(&mut self, from: &Device, to: &Device) {
        self.open
            .values_mut()
            .for_each(|request| request.rename(from, to));
    }

    /// Ends the requests of which nothing was seen for longer than they can take.
    pub(crate) fn expire(&mut self, now: Nanos) {
        let idle = self.all().filter(|request| request.is_idle(now));
        for seq in idle.map(|request| request.seq).collect::<Vec<_>>() {
            self.finish(seq, Signal::Idle, now);
        }
    }

    /// The server's process has ended, and with it what the requests under way did.
    pub(crate) fn cut_by_exit(&mut self, at: Nanos) {
        for request in self.open.values_mut() {
            request.cut_by_exit(at);
        }
    }

    /// Ends all requests under way, with the trace or with the server.
    pub(crate) fn end(&mut self, at: Nanos) {
        for seq in self.open.keys().copied().collect::<Vec<_>>() {
            let frame = self.frame_to(seq);
            if let Some((request, frame)) = self.get_mut(seq).zip(frame) {
                request.may_go_on = request.client_gone.unwrap_or(at).saturating_sub(frame);
            }
            self.finish(seq, Signal::End, frame.unwrap_or(at));
        }
        self.connections = ClientConnections::default();
        self.works.clear();
        self.ports.clear();
        // A server that is started again gives its goroutines the same IDs.
        self.finished = RecentlyFinished::default();
        self.counts.server_ended();
    }
}
