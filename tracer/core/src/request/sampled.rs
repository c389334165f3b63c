//! For which request a goroutine works that a sample found, and which requests a sample shows to be answered.

use rustc_hash::FxHashSet;
use tracer_model::{
    Attribution, EntryHead, GoroutineSample, HandlerSample, Nanos, Operation, Phase, RequestSeq,
};

use crate::{
    diagnose::phases,
    request::{
        lifecycle::{Signal, Stage},
        request::Request,
        table::Requests,
    },
};

/// Samples that may still be of a request which was under way when the trace began, ns after that.
const BEGAN_BEFORE: Nanos = 700_000_000;

/// Between two samples while the programs buffer, at most, ns. Buffering ends when two in a row found the same.
pub(super) const LONGEST_PAUSE: Nanos = 2_000_000_000;

/// A request is in the broker so soon after it came, ns.
const TO_BROKER: Nanos = 3_000_000;

/// Whoever could write no entry answers so soon, ns.
const ANSWER_DELAY: Nanos = 20_000_000;

/// When the samples were taken, and when those before; 0 if there were none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleTimes {
    pub(crate) began: Nanos,
    pub(crate) before: Nanos,
    pub(crate) at: Nanos,
}

impl SampleTimes {
    /// When what was not there in the sample before entered the broker.
    fn window(self) -> (Nanos, Nanos) {
        let before = match self.before {
            0 => self.at.saturating_sub(BEGAN_BEFORE),
            before => before.saturating_sub(TO_BROKER),
        };
        (before.max(self.began), self.at)
    }

    /// When a request began, at the earliest, that no probe has seen.
    fn first_sign(self) -> Nanos {
        let is_early = self.at.saturating_sub(self.began) <= BEGAN_BEFORE;
        match self.before {
            0 if is_early => self.began,
            0 => self.at.saturating_sub(2 * LONGEST_PAUSE).max(self.began),
            before => before.max(self.began),
        }
    }
}

impl Requests {
    /// The request of a goroutine that was sampled in a device's code; `None` if that is over, or there is none.
    pub(crate) fn of_sample(
        &mut self,
        sample: &GoroutineSample,
        times: SampleTimes,
    ) -> Option<RequestSeq> {
        if self.is_nobodys(sample.goid) || self.finished.is_alone(sample.goid) {
            return None;
        }
        let line: Vec<_> = sample.lineage().collect();
        let handler = sample.request.unwrap_or(sample.goid);
        let seq = self.of_lineage(
            &line,
            handler,
            (sample.phase(), sample.entry.as_ref()),
            times,
        );
        if seq.is_none() {
            self.finished.detach(sample.goid);
        }
        seq
    }

    /// Notes which sinks are new and have no request in the broker: they wait for nobody.
    pub(crate) fn note_outliving(
        &mut self,
        samples: &[GoroutineSample],
        in_broker: &FxHashSet<u64>,
    ) {
        let alone = samples.iter().filter(|sample| {
            let handler = sample.request.filter(|handler| *handler != sample.goid);
            let is_new = !self.works.contains_key(&sample.goid);
            is_new && handler.is_some_and(|handler| !in_broker.contains(&handler))
        });
        let alone = alone.map(|sample| sample.goid).collect();
        self.finished.sampled_alone(alone);
    }

    /// The request of a goroutine that was sampled in the audit broker.
    pub(crate) fn of_handler(
        &mut self,
        sample: &HandlerSample,
        times: SampleTimes,
    ) -> Option<RequestSeq> {
        self.end_previous(sample);
        let line: Vec<_> = std::iter::once(sample.goid)
            .chain(sample.ancestors.iter().copied())
            .collect();
        let seq = self.of_lineage(
            &line,
            sample.goid,
            (sample.phase, sample.entry.as_ref()),
            times,
        )?;
        if let Some(request) = self.get_mut(seq).filter(|r| r.goid == Some(sample.goid)) {
            request.phase_in_broker = sample.phase;
        }
        Some(seq)
    }

    /// Entries of a request about itself come before those about its answer: whoever begins anew works on another request.
    fn end_previous(&mut self, sample: &HandlerSample) {
        let seq = self.works.get(&sample.goid).copied();
        let request = seq.and_then(|seq| self.get(seq));
        if let Some((seq, last)) = request.and_then(|request| {
            let last = request.last_in_broker?;
            let begins = sample.phase == Some(Phase::Request)
                && request.goid == Some(sample.goid)
                && (request.phase_in_broker == Some(Phase::Response) || !request.is_in_broker());
            begins.then_some((request.seq, last))
        }) {
            self.finish(seq, Signal::Idle, last);
        }
    }

    /// `line`: a goroutine and its ancestors, nearest first; `handler`: the one of them that works on the request.
    pub(super) fn of_lineage(
        &mut self,
        line: &[u64],
        handler: u64,
        (phase, entry): (Option<Phase>, Option<&EntryHead>),
        times: SampleTimes,
    ) -> Option<RequestSeq> {
        let parent = line.iter().skip_while(|goid| **goid != handler).nth(1);
        if let Some(mistaken) = parent.and_then(|goid| self.connections.has_streams(*goid)) {
            self.forget(mistaken);
        }
        let is_replaced = entry.is_some_and(|entry| self.replace(handler, entry, times.at));
        self.add_served(line, times, phase);
        let of = self.working(line).unwrap_or_else(|| {
            let of = line.iter().position(|goid| *goid == handler).unwrap_or(0);
            let request = self.add(times.at, line[of]);
            request.last_act = 0;
            request.earliest_start = times.first_sign();
            of
        });
        let seq = self.merge_into_ancestor(self.works[&line[of]], &line[of + 1..], entry);
        let doubt_until = self.doubt_until;
        let request = self.get_mut(seq)?;
        if let Some(entry) = entry {
            if request.is_contradicted_by(entry) {
                return None;
            }
            if request.is_confirmed_by(entry) {
                request.confirm(times.at, doubt_until);
            } else if is_replaced || request.stage != Stage::InDoubt {
                request.learn(entry);
            }
            if is_replaced || self.get(seq)?.stage != Stage::InDoubt {
                self.merge_parts(seq, entry);
            }
        }
        for goid in line.iter().take(of).chain(&line[..1]) {
            self.assign(*goid, seq, Attribution::Lineage);
        }
        self.note_descent(seq, &line[1..]);
        Some(seq)
    }

    /// Since records were lost, the handler works on another request, for all that is known: the one that the sample names.
    fn replace(&mut self, handler: u64, entry: &EntryHead, at: Nanos) -> bool {
        let Some(seq) = self.works.get(&handler).copied() else {
            return false;
        };
        let Some(request) = self.get(seq) else {
            return false;
        };
        let is_replaced = request.stage == Stage::InDoubt
            && !request.is_stream
            && request.last_act < at
            && !request.is_confirmed_by(entry);
        if is_replaced {
            let client = request.client;
            self.finish(seq, Signal::ActsAgain, at);
            self.add(at, handler).last_act = 0;
            self.set_client(handler, client);
        }
        is_replaced
    }

    fn working(&self, line: &[u64]) -> Option<usize> {
        line.iter().position(|goid| self.works.contains_key(goid))
    }

    /// A request that was sampled before it was seen to act began with what its client sent last, or before.
    fn add_served(&mut self, line: &[u64], times: SampleTimes, phase: Option<Phase>) {
        let is_served = |goid: &u64| self.connections.served_by(*goid).is_some();
        let Some(at) = line.iter().position(is_served) else {
            return;
        };
        if self.working(line).is_some_and(|known| known >= at) {
            return;
        }
        let server = line[at];
        let Some(connection) = self.connections.served_by(server) else {
            return;
        };
        let handler = match (connection.protocol.is_multiplexed(), at) {
            (false, _) => server,
            (true, 0) => return,
            (true, _) => line[at - 1],
        };
        if self.works.contains_key(&handler) {
            return;
        }
        let (earliest, start) = if handler == server {
            match connection.received {
                0 => (times.first_sign(), times.at),
                received => (received, received),
            }
        } else {
            connection.start_of_stream(times.window(), phase)
        };
        let seq = if handler == server {
            self.add_for_server(start, server)
        } else {
            self.add_stream_or_unattributed(start, handler, Some(server))
        };
        if earliest < start
            && let Some(request) = self.get_mut(seq)
        {
            request.last_act = 0;
            request.earliest_start = earliest;
        }
    }

    /// What seemed to be a request of an unknown client belongs to an ancestor's, and this one perhaps to one of its own.
    fn merge_into_ancestor(
        &mut self,
        seq: RequestSeq,
        ancestors: &[u64],
        entry: Option<&EntryHead>,
    ) -> RequestSeq {
        let mut seq = seq;
        for goid in ancestors {
            let of_ancestor = self.works.get(goid).copied();
            let Some(of_ancestor) = of_ancestor.filter(|of| *of != seq) else {
                continue;
            };
            let contradicts =
                |request: &Request| entry.is_some_and(|e| request.is_contradicted_by(e));
            let is_others = self.get(of_ancestor).is_some_and(contradicts);
            if is_others || !self.merge_into(seq, of_ancestor, Attribution::Lineage) {
                break;
            }
            seq = of_ancestor;
        }
        seq
    }

    /// That a goroutine descends from the request's says more than what its entry does.
    fn note_descent(&mut self, seq: RequestSeq, ancestors: &[u64]) {
        if let Some(request) = self.get_mut(seq)
            && request.goid.is_some_and(|of| ancestors.contains(&of))
        {
            request.merged_by = Some(Attribution::Lineage);
        }
    }

    /// Takes which requests' own goroutines a sample found in the broker, and which are gone: a request of a multiplexed
    /// connection was answered by the first frame after its goroutine was last seen in the broker.
    /// `knows_broker`: the samples show the broker itself, rather than only the sinks in a device's code.
    pub(crate) fn sampled_in_broker(
        &mut self,
        at: Nanos,
        (in_broker, knows_broker): (&FxHashSet<u64>, bool),
        gone: &Gone,
    ) {
        let mut answered = Vec::new();
        for request in self.open.values_mut() {
            let Some(goid) = request.goid else { continue };
            let is_present = in_broker.contains(&goid);
            let was_present = request.last_in_broker;
            if is_present {
                request.last_in_broker = Some(at);
                request.last_frame_to_it = None;
            }
            if knows_broker {
                let phase = request.phase_in_broker;
                request.stays.sampled(at, is_present, phase);
            }
            let may_be_over = request.is_stream || request.stage == Stage::Unattributed;
            let may_be_over = may_be_over && !is_present && !request.stays.is_inside();
            if let Some(last) =
                was_present.filter(|_| may_be_over || (!is_present && gone.is_dead(goid)))
            {
                answered.push((request.seq, goid, last, request.connection));
            }
        }
        for (seq, goid, last_present, id) in answered {
            let Some(request) = self.get(seq) else {
                continue;
            };
            let connection = id.and_then(|id| self.connections.get(id));
            let last_seen = request.last_act.min(at).max(last_present);
            let frame = connection.and_then(|c| {
                let frame = c.first_frame_after(last_seen);
                frame.or_else(|| c.first_frame_after(last_present))
            });
            let frame = frame.or(request.last_frame_to_it);
            // No other request was under way on the connection at any time: each frame is this one's.
            let newest = connection.map(|connection| connection.streams);
            let was_alone = newest.is_some() && request.lone_stream == newest;
            let is_dead = gone.is_dead(goid);
            // Its second stay may have been shorter than the time between two samples.
            let wrote_answer =
                |write: &Operation| phases::is_about_the_answer(write) && write.end > last_present;
            let has_answer = request.phase_in_broker == Some(Phase::Response)
                || request.operations.iter().any(wrote_answer);
            let is_at_once = |frame: Nanos| frame <= last_seen + ANSWER_DELAY;
            let is_failed = request.has_failed() && frame.is_some_and(is_at_once);
            if let Some(request) = self.get_mut(seq) {
                request.awaits_answer = has_answer || is_failed;
            }
            match frame {
                Some(frame) if has_answer || is_dead || was_alone => {
                    self.finish(seq, Signal::Answered, frame);
                }
                None if is_dead => self.finish(seq, Signal::Idle, last_present),
                None if has_answer && id.is_none() => self.finish(seq, Signal::Idle, at),
                _ => {}
            }
        }
    }
}

/// What the samples of sinks tell of their requests' goroutines.
#[derive(Debug, Default)]
pub(crate) struct Gone(FxHashSet<u64>);

impl Gone {
    /// Of each sink the ancestors are known as far as they live, and the oldest one's parent: a request's goroutine after
    /// which no one comes has ended.
    pub(crate) fn of(samples: &[GoroutineSample]) -> Self {
        let ended = samples.iter().filter_map(|sample| {
            let handler = sample.request.filter(|handler| *handler != sample.goid)?;
            (sample.ancestors.last() == Some(&handler)).then_some(handler)
        });
        Self(ended.collect())
    }

    pub(crate) fn is_dead(&self, goid: u64) -> bool {
        self.0.contains(&goid)
    }
}
