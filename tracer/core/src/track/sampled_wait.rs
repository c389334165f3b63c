//! What a goroutine waits for while it makes no system call: a device's lock, a name look-up, a pipe, a disk.
//!
//! No probe sees such a wait. The sampler reads the goroutines' stacks now and then, so a wait is known by the samples that
//! found it, and it is bounded by what the goroutine did before and after.

use tracer_model::{
    Actor, Cause, Device, Evidence, Nanos, Op, Operation, Outcome, Phase, RequestSeq,
};

/// Periods kept of one goroutine.
const MAX_PERIODS: usize = 512;

/// A wait that was first sampled within this time, ns, after the goroutine's last act began with that act: sampling starts
/// 200 ms after the last sign of a request at the latest, and samples are at most half a second apart.
const FIRST_SAMPLE: Nanos = 700_000_000;

/// A goroutine that was sampled once and acts, or is elsewhere, within this time, ns, was runnable, not blocked. It is as long as
/// two samples are apart: a wait that goes on is sampled again. 53 ms were measured on two busy processors.
const RUNNABLE: Nanos = 160_000_000;

/// What one sample found a goroutine waiting for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StackSample {
    pub(crate) op: Op,
    pub(crate) device: Device,
    pub(crate) phase: Option<Phase>,
    /// Since when, as the server's own memory says.
    pub(crate) since: Option<Nanos>,
    pub(crate) frames: Vec<String>,
    /// Of a wait for the lock: who is in the device.
    pub(crate) holder: Option<LockHolder>,
    /// Since when the device has been stalled without a break: nobody queued for it before.
    pub(crate) stalled_since: Option<Nanos>,
    /// And this long before, the device may have been busy after another stall, and been queued for.
    pub(crate) not_queued_before: Option<Nanos>,
}

/// The request that is in the device for which others queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockHolder {
    pub(crate) request: RequestSeq,
    /// Why it is stalled, as far as could be seen by then.
    pub(crate) cause: Cause,
    /// When it was in the device for the last time, if that is over.
    pub(crate) until: Option<Nanos>,
}

impl LockHolder {
    /// Whether who has queued since then did so behind it.
    pub(crate) fn was_there_after(&self, since: Option<Nanos>) -> bool {
        self.until
            .is_none_or(|until| since.is_some_and(|since| since < until))
    }
}

/// What the samples say of one goroutine since it last acted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampledWait {
    start: Nanos,
    /// Whether the goroutine was seen to act at `start`; else it was not found there by the sample before.
    acted_at_start: bool,
    /// By how much `start` may be too late, ns.
    may_be_earlier: Nanos,
    periods: Vec<Period>,
}

/// Samples in a row that found the same.
#[derive(Clone, Debug, PartialEq)]
struct Period {
    first: Nanos,
    last: Nanos,
    /// `None`: the goroutine was not in the code of an audit device.
    sample: Option<StackSample>,
    reported: bool,
}

/// How a sampled wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// The goroutine acts.
    Acts(Nanos),
    /// Its request was answered, the server ended or the trace did: it may go on.
    Cut(Nanos),
    /// No sample found it any more.
    LastSample,
}

/// A sampled wait that goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenSampledWait<'a> {
    pub(crate) sample: &'a StackSample,
    pub(crate) start: Nanos,
    /// It did not begin before then: the goroutine acted, or was sampled elsewhere.
    pub(crate) not_before: Nanos,
    /// Whether [`SampledWait::mark_reported`] was called for it.
    pub(crate) reported: bool,
    /// Whether more than one sample shows it.
    pub(crate) confirmed: bool,
}

impl Period {
    /// Whether nothing says that the goroutine waited before it was sampled, or after.
    fn is_single_sample(&self) -> bool {
        let dates = |sample: &StackSample| sample.stalled_since.is_some() || sample.since.is_some();
        self.first == self.last && !self.sample.as_ref().is_some_and(dates)
    }

    /// Whether one sample missed the goroutine: it was woken up when the sample was taken.
    fn is_on_its_way(&self) -> bool {
        self.sample.is_none() && self.first == self.last
    }

    /// Between two holders of a lock, a sample may find nobody in the device. Why the first one is stalled may show later, in
    /// itself or in the next one.
    fn learn_holder(&mut self, sample: Option<StackSample>) {
        let (Some(known), Some(holder)) = (&mut self.sample, sample.and_then(|s| s.holder)) else {
            return;
        };
        let first = known.holder.get_or_insert(holder);
        if first.cause == Cause::Unknown {
            first.cause = holder.cause;
        }
    }
}

impl OpenSampledWait<'_> {
    /// The wait so far, as an operation without an outcome.
    pub(crate) fn operation(&self) -> Operation {
        let span = (self.start, self.start);
        operation(Actor::default(), self.sample, span, None)
    }
}

impl SampledWait {
    /// `acted`: the goroutine was seen to act at `start`, rather than missed by a sample.
    pub(crate) fn new(start: Nanos, acted: bool) -> Self {
        Self {
            start,
            acted_at_start: acted,
            may_be_earlier: 0,
            periods: Vec::new(),
        }
    }

    /// The goroutine acted at the start, or up to so long before, ns.
    pub(crate) fn maybe_earlier_by(self, may_be_earlier: Nanos) -> Self {
        Self {
            may_be_earlier,
            ..self
        }
    }

    /// Takes a sample; `None` if the goroutine was elsewhere.
    pub(crate) fn add(&mut self, at: Nanos, sample: Option<StackSample>) {
        let last = self.periods.last_mut();
        if let Some(period) = last.filter(|p| is_same(p.sample.as_ref(), sample.as_ref())) {
            period.last = at;
            period.learn_holder(sample);
        } else if self.periods.len() < MAX_PERIODS {
            self.periods.push(Period {
                first: at,
                last: at,
                sample,
                reported: false,
            });
        }
    }

    /// What the goroutine waits for, as of the last sample.
    pub(crate) fn open(&self) -> Option<OpenSampledWait<'_>> {
        let last = self.periods.len().checked_sub(1)?;
        Some(OpenSampledWait {
            sample: self.periods[last].sample.as_ref()?,
            start: self.begin(last).0,
            not_before: match last.checked_sub(1) {
                Some(before) => self.periods[before].last,
                None if self.acted_at_start => self.start,
                None => self.begin(last).0,
            },
            reported: self.periods[last].reported,
            confirmed: !self.periods[last].is_single_sample(),
        })
    }

    /// What was known by the one address is the other device's.
    pub(crate) fn rename(&mut self, from: &Device, to: &Device) {
        let samples = self.periods.iter_mut().filter_map(|p| p.sample.as_mut());
        for sample in samples.filter(|sample| sample.device == *from) {
            sample.device.clone_from(to);
        }
    }

    /// The wait that is open has been reported.
    pub(crate) fn mark_reported(&mut self) {
        if let Some(period) = self.periods.last_mut() {
            period.reported = true;
        }
    }

    /// The waits, now that they are over. Where one wait went over into another between two samples, the middle is taken,
    /// with half of the gap as uncertainty.
    pub(crate) fn operations(&self, by: Actor, end: WaitEnd) -> Vec<Operation> {
        let waits = self.periods.iter().enumerate();
        waits
            .filter_map(|(index, period)| {
                let sample = period.sample.as_ref()?;
                let (start, start_uncertainty) = self.begin(index);
                let (finish, end_uncertainty) = self.finish(index, end);
                let is_short = finish.saturating_sub(period.first) < RUNNABLE;
                if period.is_single_sample() && is_short {
                    return None;
                }
                let is_last = index + 1 == self.periods.len();
                let span = (start, finish.max(start));
                Some(Operation {
                    uncertainty: start_uncertainty + end_uncertainty,
                    ..operation(by, sample, span, outcome(sample.op, end, is_last))
                })
            })
            .collect()
    }

    /// When a period began, and by how much that may be wrong, ns.
    fn begin(&self, index: usize) -> (Nanos, Nanos) {
        let period = &self.periods[index];
        let before = index.checked_sub(1).map(|before| self.periods[before].last);
        let stalled = period.sample.as_ref().and_then(|s| s.stalled_since);
        let dated = period.sample.as_ref().and_then(|s| s.since);
        if let Some(since) = dated.filter(|since| *since <= period.first) {
            // The server's memory says it; yet nobody queues for a device before it is stalled.
            let earliest = before.max(stalled).unwrap_or(0).min(period.first);
            return (since.max(earliest), 0);
        }
        let bounded = |at: Nanos| at.max(stalled.unwrap_or(0)).min(period.first);
        let earliest = bounded(before.unwrap_or(self.start));
        let gap = period.first - earliest;
        let queued = period.sample.as_ref().and_then(|s| s.not_queued_before);
        // It may have queued before this stall, behind one that ended shortly before.
        let since = queued.map(|queued| queued.max(before.unwrap_or(self.start)));
        let since = since.filter(|since| *since < earliest);
        let may_have_queued = |start: Nanos| since.map_or(0, |since| start - since);
        let acted = before.is_none() && self.acted_at_start && gap <= FIRST_SAMPLE;
        if acted && !period.is_single_sample() {
            let may_be_earlier = earliest - bounded(self.start.saturating_sub(self.may_be_earlier));
            // Not the middle: a hang is never longer than its request.
            return (earliest, may_be_earlier.max(may_have_queued(earliest)));
        }
        let (start, half) = middle(earliest, period.first);
        (start, half.max(may_have_queued(start)))
    }

    fn finish(&self, index: usize, end: WaitEnd) -> (Nanos, Nanos) {
        let period = &self.periods[index];
        if let Some(next) = self.periods.get(index + 1) {
            let is_the_end = index + 2 == self.periods.len();
            match end {
                // Nothing was seen of it since that sample: it may have been gone already.
                WaitEnd::Cut(_) | WaitEnd::LastSample if is_the_end => {}
                _ if next.is_on_its_way() => return (next.first, 0),
                _ => {}
            }
            let (at, uncertainty) = self.begin(index + 1);
            return (at.max(period.last), uncertainty);
        }
        match end {
            // Nothing shows that it went on after the only sample.
            WaitEnd::Cut(at) if period.is_single_sample() => middle(period.last, at),
            WaitEnd::Acts(at) | WaitEnd::Cut(at) => (at, 0),
            WaitEnd::LastSample => (period.last, 0),
        }
    }
}

/// Of two times between which something happened: the middle, and by how much that may be wrong, ns.
fn middle(from: Nanos, to: Nanos) -> (Nanos, Nanos) {
    let half = to.saturating_sub(from) / 2;
    (to - half, half)
}

fn is_same(one: Option<&StackSample>, other: Option<&StackSample>) -> bool {
    let key = |sample: &StackSample| {
        let StackSample {
            op, phase, since, ..
        } = *sample;
        (op, sample.device.clone(), phase, since)
    };
    one.map(key) == other.map(key)
}

fn outcome(op: Op, end: WaitEnd, is_last: bool) -> Option<Outcome> {
    match (op, end) {
        (_, WaitEnd::Cut(_) | WaitEnd::LastSample) if is_last => None,
        // A name that was resolved, or a connection that stands, is used at once: a socket would have been seen.
        (Op::Resolve | Op::Connect, _) => Some(Outcome::Timeout),
        _ => Some(Outcome::Ok),
    }
}

fn operation(
    by: Actor,
    sample: &StackSample,
    span: (Nanos, Nanos),
    outcome: Option<Outcome>,
) -> Operation {
    Operation {
        outcome,
        evidence: Evidence {
            frames: sample.frames.clone(),
            ..Evidence::default()
        },
        phase: sample.phase,
        blocked_by: sample.holder.map(|holder| holder.request),
        holder_cause: sample.holder.map(|holder| holder.cause),
        ..Operation::new(sample.op, sample.device.clone(), by, span)
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::Transport;

    use super::*;

    const MS: Nanos = 1_000_000;

    /// Samples of a dial at these times, in ms, after the goroutine acted at 0; the trace ends at `end`. Returns end and
    /// uncertainty of the wait.
    fn cut(samples: &[Nanos], end: Nanos) -> Option<(Nanos, Nanos)> {
        let mut wait = SampledWait::new(0, true);
        for at in samples {
            let sample = StackSample {
                op: Op::Connect,
                device: Device::new(Transport::Tcp, "10.0.0.2:1515"),
                phase: None,
                since: None,
                frames: Vec::new(),
                holder: None,
                stalled_since: None,
                not_queued_before: None,
            };
            wait.add(at * MS, Some(sample));
        }
        let waits = wait.operations(Actor::default(), WaitEnd::Cut(end * MS));
        waits.first().map(|it| (it.end / MS, it.uncertainty / MS))
    }

    #[test]
    fn after_the_only_sample_a_wait_may_end_at_any_time() {
        // The begin is uncertain by 1 ms too.
        assert_eq!(cut(&[2], 402), Some((202, 201)));
        assert_eq!(cut(&[2], 190), None, "it may have been runnable");
        assert_eq!(cut(&[2, 102], 402), Some((402, 0)), "it went on");
    }

    /// Found in a lab with fifty clients: others queued while the device was between two stalls for more than a hand-over.
    #[test]
    fn a_wait_may_have_begun_behind_the_stall_before() {
        let begin = |acted, stalled, queued| {
            let mut wait = SampledWait::new(100 * MS, acted);
            for at in [200, 300] {
                let sample = StackSample {
                    op: Op::Lock,
                    device: Device::new(Transport::Tcp, "10.0.0.2:1515"),
                    phase: None,
                    since: None,
                    frames: Vec::new(),
                    holder: None,
                    stalled_since: Some(stalled * MS),
                    not_queued_before: Some(queued * MS),
                };
                wait.add(at * MS, Some(sample));
            }
            let waits = wait.operations(Actor::default(), WaitEnd::Acts(500 * MS));
            (waits[0].start / MS, waits[0].uncertainty / MS)
        };
        for (acted, stalled, queued, expected) in [
            // The stall began 60 ms after the goroutine was last seen elsewhere, or after the sample that found it in the queue.
            (false, 160, 1, (180, 80)),
            (false, 210, 1, (200, 100)),
            (true, 160, 1, (160, 60)),
            // The twins: no stall ended shortly before.
            (false, 160, 160, (180, 20)),
            (true, 160, 160, (160, 0)),
            (true, 1, 1, (100, 0)),
        ] {
            assert_eq!(
                begin(acted, stalled, queued),
                expected,
                "{acted} {stalled} {queued}"
            );
        }
    }
}
