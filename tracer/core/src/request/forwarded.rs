//! Requests that wait for the active node of the cluster, as samples of their own goroutines show.

use rustc_hash::FxHashSet;
use tracer_model::{Forwarded, ForwardedSample, Nanos};

use crate::{
    request::{
        lifecycle::{Signal, Stage},
        request::Request,
        sampled::{LONGEST_PAUSE, SampleTimes},
        table::Requests,
    },
    track::forward_wait::ForwardWait,
};

impl Requests {
    /// Takes which requests' goroutines a sample found waiting for the active node.
    pub(crate) fn sampled_forwarded(&mut self, handlers: &[ForwardedSample], times: SampleTimes) {
        for sample in handlers {
            if self.finished.is_outdated(sample.goid, times.at) {
                continue;
            }
            let line: Vec<_> = std::iter::once(sample.goid)
                .chain(sample.ancestors.iter().copied())
                .collect();
            let seq = self.of_lineage(&line, sample.goid, (None, None), times);
            let Some(seq) = seq else { continue };
            let request = self.get(seq);
            let id = request.and_then(|r| r.connection.filter(|_| r.forward.is_none()));
            let connection = id.and_then(|id| self.connections.get(id));
            let received = connection.and_then(|c| c.last_received_before(sample.since));
            if let Some(request) = self.get_mut(seq) {
                request.forwarded(times.at, sample, received);
            }
        }
        let found: FxHashSet<_> = handlers.iter().map(|sample| sample.goid).collect();
        self.sampled_no_other_forwarded(times.at, &found);
    }

    /// Others wait no more. Of a request that has a connection to itself, its goroutine's next act shows when that was.
    fn sampled_no_other_forwarded(&mut self, at: Nanos, found: &FxHashSet<u64>) {
        let is_missing = |request: &&Request| {
            let is_found = request.goid.is_some_and(|goid| found.contains(&goid));
            let is_served_alone = !request.is_stream && !request.is_unattributed();
            request.is_forwarded() && !is_found && !is_served_alone
        };
        let missing: Vec<_> = self.all().filter(is_missing).map(|r| r.seq).collect();
        for seq in missing {
            let Some(request) = self.get(seq) else {
                continue;
            };
            let connection = request.connection.and_then(|id| self.connections.get(id));
            let last = request.forward.as_ref().map_or(at, ForwardWait::last);
            let frame = connection.and_then(|connection| connection.first_frame_after(last));
            let streams = connection.map(|connection| connection.streams);
            let was_alone = streams.is_some() && request.lone_stream == streams;
            let Some(request) = self.get_mut(seq) else {
                continue;
            };
            let wait = request.forward.as_mut();
            let is_gone = wait.is_some_and(|wait| wait.missed(at));
            match frame {
                Some(frame) if !request.is_in_broker() => {
                    // It is one of the frames since.
                    let (earliest, latest) = if was_alone {
                        (frame, frame)
                    } else {
                        (last, at)
                    };
                    request.end_forward(earliest, latest);
                    self.finish(seq, Signal::Answered, latest.midpoint(earliest));
                }
                None if is_gone && request.is_unattributed() => {
                    self.finish(seq, Signal::Idle, at);
                }
                _ => {}
            }
        }
    }
}

impl Request {
    /// Whether it waits for the active node, as far as samples say.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.forward.as_ref().is_some_and(ForwardWait::is_open)
    }

    /// `received`: of a request that shares its connection, when the client last sent anything there before the wait.
    fn forwarded(&mut self, at: Nanos, sample: &ForwardedSample, received: Option<(Nanos, Nanos)>) {
        // After a loss its goroutine may work on another request.
        if at <= self.last_act || self.stage == Stage::InDoubt {
            return;
        }
        self.last_sign = at;
        if !self.begin_seen {
            self.start = self.start.min(sample.since);
        }
        if let Some((earliest, latest)) = received.filter(|_| self.last_act == 0) {
            self.start = latest;
            self.earliest_start = earliest;
        }
        let acted = match self.last_act {
            // The sample before did not find it waiting.
            0 => {
                let before = sample.since.saturating_sub(LONGEST_PAUSE);
                (self.earliest_start.max(before), self.start)
            }
            last_act => (last_act, last_act),
        };
        let since = sample.since.max(acted.1);
        let wait = self
            .forward
            .get_or_insert_with(|| ForwardWait::after(acted, since));
        wait.sampled(at, sample.to.as_deref());
    }

    /// The wait for the active node, if there was one, ended between these times.
    pub(super) fn end_forward(&mut self, earliest: Nanos, latest: Nanos) {
        if let Some(wait) = &mut self.forward {
            wait.end(earliest, latest);
        }
    }

    /// Its wait is over with the request, which ended at `limit`.
    pub(super) fn conclude_forward(&mut self, limit: Nanos) {
        if let Some(wait) = &mut self.forward {
            match self.stage {
                Stage::EndUnseen => wait.end_with_last_sample(),
                _ => wait.end(limit, limit),
            }
        }
    }

    /// Of a request that is over, its wait for the active node.
    pub(crate) fn forwarded_finding(&self) -> Option<Forwarded> {
        let wait = self.forward.as_ref()?;
        let (start, duration, uncertainty) = wait.measured()?;
        let mut request = self.info();
        if request.lower_bound {
            // It is at least as long as this part of it.
            let certain_end = (start + duration).saturating_sub(uncertainty);
            let certain = certain_end.saturating_sub(request.start);
            request.duration = request.duration.max(certain);
        }
        Some(Forwarded {
            request,
            to: wait.to().map(ToOwned::to_owned),
            start,
            duration,
            uncertainty,
        })
    }
}
