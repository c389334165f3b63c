//! What the goroutines of a request do, until it is over: acts, operations and sampled waits.

use rustc_hash::FxHashSet;
use tracer_model::{
    Actor, Attribution, Device, EntryHead, EntryKind, GoroutineSample, Nanos, Operation, Phase,
};

use crate::{
    request::{lifecycle::Stage, request::Request},
    track::sampled_wait::{SampledWait, StackSample, WaitEnd},
};

/// From the first socket that an exiting process closes to its end, ns: more than a busy machine takes.
const EXIT: Nanos = 1_000_000_000;

/// A request that came so shortly before a sample, ns, may be in the broker although that has not found it there: it runs.
const TO_BROKER: Nanos = 20_000_000;

impl Request {
    /// Takes a sample of one of its goroutines, which was not waiting anywhere before `since`.
    pub(super) fn sampled(
        &mut self,
        at: Nanos,
        goid: u64,
        since: Nanos,
        sample: Option<StackSample>,
    ) {
        let last_act = self.last_act_of(goid);
        if at <= last_act {
            // It has acted since the sample was taken.
            return;
        }
        if let Some(sample) = &sample {
            self.last_sign = at;
            if !self.begin_seen {
                self.start = self.start.min(sample.since.unwrap_or(at));
            }
        }
        let is_sink = self.goid.is_some_and(|own| own != goid);
        let phase = sample.as_ref().and_then(|sample| sample.phase);
        let is_new = is_sink && !self.sink_acts.contains_key(&goid);
        let early = self.start - self.earliest_start.min(self.start);
        // A sink that the sample before did not find, while the request was in the broker, has another entry than the first.
        let is_later = is_new && since > self.start && self.last_in_broker.is_some();
        let (since, acted, early) = match phase.filter(|_| is_new) {
            // It was started when its request entered the broker: at first, soon after the request began.
            Some(Phase::Request) => match self.not_in_broker_by() {
                Some(sampled) => (sampled, false, 0),
                None => (self.start, true, early),
            },
            Some(Phase::Response) => (self.earliest_start.max(since), false, 0),
            None if last_act == 0 && !is_later => (self.start, true, early),
            // It worked in between, for how long is not known.
            None if phase == Some(Phase::Response) && self.acted_for_request_entry() => {
                (last_act.max(since), false, 0)
            }
            None => (last_act.max(since), last_act >= since, 0),
        };
        let wait = self.sampled_waits.entry(goid);
        wait.or_insert_with(|| SampledWait::new(since, acted).maybe_earlier_by(early))
            .add(at, sample);
    }

    /// When a sample found that the request, which had come long before, was not in the broker yet: it may wait for a storage first.
    fn not_in_broker_by(&self) -> Option<Nanos> {
        let sampled = self.stays.not_entered_by();
        sampled.filter(|sampled| *sampled > self.start + TO_BROKER)
    }

    /// For which entry a sampled goroutine works. `in_broker`: the requests' own goroutines that the sample found in the broker;
    /// `is_new`: nothing was seen of this one before.
    pub(crate) fn phase_of(
        &mut self,
        sample: &GoroutineSample,
        is_new: bool,
        in_broker: &FxHashSet<u64>,
    ) -> Option<Phase> {
        let Some(handler) = sample.request.filter(|handler| *handler != sample.goid) else {
            return sample.phase();
        };
        let is_there = self.goid == Some(handler) && in_broker.contains(&handler);
        let of_handler = self.phase_in_broker.filter(|_| is_there);
        self.sink_phases.learn(sample, of_handler, is_new);
        self.sink_phases.of(sample.goid)
    }

    /// Whether the last thing that was seen of it was the entry about the request.
    fn acted_for_request_entry(&self) -> bool {
        let last = self.operations.last().and_then(|last| last.entry.as_ref());
        last.is_some_and(|entry| entry.kind == Some(EntryKind::Request))
    }

    /// When the goroutine last acted. Sinks work side by side: others' acts say nothing of one.
    fn last_act_of(&self, goid: u64) -> Nanos {
        let of_sink = self.sink_acts.get(&goid).copied();
        of_sink.unwrap_or(self.last_act)
    }

    /// Whether anything was seen of this goroutine: an act, or a wait.
    pub(crate) fn has_seen(&self, goid: u64) -> bool {
        let is_own = self.goid == Some(goid) && self.last_act > 0;
        is_own || self.sink_acts.contains_key(&goid) || self.sampled_waits.contains_key(&goid)
    }

    /// When its goroutines were sampled waiting for the device, at least, from when to when.
    pub(crate) fn sampled_on(&self, device: &Device) -> impl Iterator<Item = (Nanos, Nanos)> {
        let waits = self.sampled_waits.values();
        let waits = waits.flat_map(|wait| wait.operations(Actor::default(), WaitEnd::LastSample));
        let waits = waits.filter(move |wait| wait.device == *device);
        waits.map(|wait| (wait.start, wait.end))
    }

    pub(super) fn sampled_goroutines(&self) -> impl Iterator<Item = u64> {
        self.sampled_waits.keys().copied()
    }

    /// One of its goroutines acts: what was sampled of it is over.
    pub(super) fn acts(&mut self, at: Nanos, goid: u64) {
        if let Some(wait) = self.sampled_waits.remove(&goid) {
            self.take(goid, &wait, WaitEnd::Acts(at));
        }
        if self.goid == Some(goid) {
            self.end_forward(at, at);
        }
        self.acted(at, goid);
        self.extend_to(at);
        self.last_sign = self.last_sign.max(at);
    }

    fn acted(&mut self, at: Nanos, goid: u64) {
        self.last_act = self.last_act.max(at);
        if self.goid.is_some_and(|own| own != goid) {
            let last = self.sink_acts.entry(goid).or_default();
            *last = at.max(*last);
        }
    }

    pub(super) fn extend_to(&mut self, at: Nanos) {
        if !self.stage.is_over() {
            self.end = self.end.max(at);
        }
    }

    pub(super) fn operation_began(&mut self, entry: Option<&EntryHead>) {
        self.open_operations += 1;
        if let Some(id) = entry.and_then(|entry| entry.id.as_ref()) {
            self.writing.get_or_insert_with(|| id.clone());
        }
    }

    pub(super) fn operation_ended(&mut self, operation: Operation, waited: bool) {
        if waited {
            self.open_operations = self.open_operations.saturating_sub(1);
        }
        let goid = operation.by.goid.unwrap_or(0);
        self.acts(operation.start, goid);
        self.acted(operation.end, goid);
        self.last_sign = self.last_sign.max(operation.end);
        self.extend_to(operation.end);
        let named = operation.entry.as_ref().is_some_and(|e| e.id.is_some());
        if self.attribution.is_none() && named {
            self.attribution = Some(Attribution::Payload);
        }
        self.operations.push(operation);
    }

    /// It is over: its sampled waits become operations. Nothing of it is later than `limit`.
    pub(super) fn conclude(&mut self, limit: Nanos) {
        self.conclude_forward(limit);
        let own = self.goid;
        let is_answered = self.stage == Stage::Answered;
        for (goid, wait) in std::mem::take(&mut self.sampled_waits) {
            let end = match self.stage {
                Stage::Answered | Stage::Abandoned if own == Some(goid) => WaitEnd::Acts(limit),
                Stage::EndUnseen => WaitEnd::LastSample,
                _ => WaitEnd::Cut(limit),
            };
            self.take(goid, &wait, end);
        }
        self.clip_sinks();
        let gap = self.answer_gap();
        for operation in &mut self.operations {
            let goes_on = operation.end >= limit;
            cut(operation, limit);
            if goes_on {
                operation.uncertainty = operation.uncertainty.max(gap);
            }
        }
        self.operations.sort_by_key(|operation| operation.end);
        if !self.begin_seen {
            let starts = self.operations.iter().map(|operation| operation.start);
            self.start = starts.min().unwrap_or(self.start).min(self.start);
        }
        let last = self.operations.last().map_or(0, |operation| operation.end);
        self.end = if is_answered {
            limit
        } else {
            self.end.max(last).min(limit)
        };
    }

    /// The answer of a stream is one of the frames since a sample last found it in the broker: how much later than the first of
    /// them it may be, ns.
    fn answer_gap(&self) -> Nanos {
        if !self.is_stream {
            return 0;
        }
        match self.stays.leave_gap() {
            0 => self.may_go_on,
            gap => gap,
        }
    }

    /// What its sinks did while its own goroutine was not in the broker blocked nobody.
    fn clip_sinks(&mut self) {
        let own = self.goid;
        let is_sink = |operation: &Operation| operation.by.goid != own;
        let operations = std::mem::take(&mut self.operations);
        let (sinks, own): (Vec<_>, Vec<_>) = operations.into_iter().partition(is_sink);
        self.operations = own;
        let (stays, is_end_unseen) = (&self.stays, self.stage == Stage::EndUnseen);
        let phases = &self.sink_phases;
        let clipped = sinks
            .into_iter()
            .flat_map(|sink| stays.clip(phases.complete(sink)));
        self.operations.extend(clipped.map(|mut sink| {
            if is_end_unseen {
                sink.uncertainty = sink.uncertainty.max(stays.may_outlast(&sink));
            }
            sink
        }));
    }

    /// The server has ended at this time. A process that exits closes its sockets first (`kernel/exit.c`, `exit_files` before
    /// `exit_notify`): what ended so, and was followed by nothing, was cut by that.
    pub(super) fn cut_by_exit(&mut self, at: Nanos) {
        let last_act = self.last_act;
        let is_cut = |o: &&mut Operation| o.end >= last_act && at.saturating_sub(o.end) <= EXIT;
        for operation in self.operations.iter_mut().filter(is_cut) {
            operation.outcome = None;
            operation.errno = None;
        }
    }

    pub(crate) fn goroutines(&self) -> Vec<u64> {
        self.goroutines.clone()
    }

    /// Takes an operation that goes on when the request is over, as far as it was the request's.
    pub(crate) fn add_cut_operation(&mut self, operation: Operation) {
        let operation = Operation {
            uncertainty: operation.uncertainty.max(self.answer_gap()),
            ..operation
        };
        let is_sink = operation.by.goid != self.goid;
        let parts = if is_sink {
            self.stays.clip(self.sink_phases.complete(operation))
        } else {
            vec![operation]
        };
        self.operations.extend(parts);
        self.operations.sort_by_key(|operation| operation.end);
    }

    /// The last time at which it was certainly this request that its goroutine worked on.
    pub(super) fn certain_end(&self) -> Nanos {
        self.certain_until
    }

    fn take(&mut self, goid: u64, wait: &SampledWait, end: WaitEnd) {
        let by = Actor {
            goid: Some(goid),
            ..Actor::default()
        };
        let waits = wait.operations(by, end);
        if let Some(last) = waits.iter().map(|wait| wait.end).max() {
            self.extend_to(last);
        }
        self.operations.extend(waits);
    }

    /// Takes over what was thought to be another request.
    pub(super) fn merge(&mut self, other: Self) {
        if self.last_in_broker.is_none() && other.last_in_broker.is_some() {
            self.goid = other.goid;
            self.last_in_broker = other.last_in_broker;
            self.phase_in_broker = other.phase_in_broker;
            self.stays = other.stays.clone();
        }
        // What was taken for a request of its own was one that acted, rather than one that only starts others.
        self.dialers.extend(other.goid);
        self.dialers.extend(other.dialers);
        self.aliases.push(other.seq);
        self.aliases.extend(other.aliases);
        self.operations.extend(other.operations);
        self.operations.sort_by_key(|operation| operation.end);
        self.open_operations += other.open_operations;
        // What was reported first keeps its name.
        for (device, id) in other.hang_ids {
            self.hang_ids.entry(device).or_insert(id);
        }
        self.sampled_waits.extend(other.sampled_waits);
        self.forward = self.forward.take().or(other.forward);
        self.sink_acts.extend(other.sink_acts);
        self.sink_phases.extend(other.sink_phases);
        if !self.begin_seen {
            self.start = self.start.min(other.start);
        }
        self.extend_to(other.end);
        self.last_sign = self.last_sign.max(other.last_sign);
        self.learnt = self.learnt.take().or(other.learnt);
    }
}

/// No operation outlasts its request: what goes on when that is answered is the device's outage and nobody's wait.
fn cut(operation: &mut Operation, end: Nanos) {
    if operation.end > end {
        operation.end = end.max(operation.start.min(end));
        operation.start = operation.start.min(end);
        operation.outcome = None;
        operation.errno = None;
    }
}
