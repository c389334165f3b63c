//! Where a goroutine waits while it makes no system call: for the device's lock, or for a name. Only
//! its stack tells ([`crate::server::goroutines`]), so it is looked at now and then while something
//! is stalled or silent. The looks say what a silence was; its beginning and end are the goroutine's
//! own acts.

use crate::cause::cause_of;

use tracer_model::{Actor, Device, Nanos};
use tracer_model::{Cause, Evidence, Op, Operation, Outcome, Phase, RequestSeq};

/// Changes kept per silence.
const RUNS: usize = 512;

/// A silence whose first look came within this time, ns, was what the look saw from its beginning:
/// looks begin 200 ms after the last sign at the latest, and are half a second apart at most.
const SURE: Nanos = 700_000_000;

/// Who was met once on the way out of a wait, and acts within this time, ns, was only waiting for a processor: as long as
/// from one look to the next, in which a wait that goes on is met again. On two busy processors 53 ms were seen.
const LEAVING: Nanos = 100_000_000;

/// What was found of one goroutine at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct StackSample {
    /// What it waits for.
    pub op: Op,
    /// In which device.
    pub device: Device,
    /// For which entry.
    pub phase: Option<Phase>,
    /// Since when it waits there, as the server itself says.
    pub since: Option<Nanos>,
    /// Functions on its stack.
    pub frames: Vec<String>,
    /// Of a wait for the lock: who is in the device, if that is known.
    pub behind: Option<Behind>,
    /// Since when the device has been stalled without a break: nobody queued before.
    pub stalled_since: Option<Nanos>,
}

/// The request that holds a device's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Which one.
    pub request: RequestSeq,
    /// Why it is stalled, as far as could be seen by then.
    pub cause: Cause,
}

/// One goroutine's silence, and what was found of it meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledWait {
    start: Nanos,
    /// Whether it was seen to do something then.
    is_seen: bool,
    runs: Vec<Run>,
}

/// Sampler in a row that found the same.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    first: Nanos,
    last: Nanos,
    /// `None`: it was not in the code of an audit device.
    look: Option<StackSample>,
    told: bool,
}

/// How a silence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The goroutine acts.
    Acts(Nanos),
    /// The trace ends.
    Cut(Nanos),
    /// Nothing more was seen of it.
    Fades,
}

/// A wait that only looks tell of, while it lasts.
#[derive(Clone, Copy, Debug)]
pub struct OpenWait<'a> {
    /// What was found.
    pub look: &'a StackSample,
    /// When it began.
    pub start: Nanos,
    /// Whether [`SampledWait::tell`] was called for it.
    pub told: bool,
}

impl Run {
    /// Whether nothing says that it had waited when it was met.
    fn is_chance(&self) -> bool {
        let look = self.look.as_ref();
        let says = |look: &StackSample| look.stalled_since.is_some() || look.since.is_some();
        self.first == self.last && !look.is_some_and(says)
    }

    /// Between two who held the lock, a look may find nobody there.
    fn knows_better(&mut self, look: Option<StackSample>) {
        if let (Some(known), Some(look)) = (&mut self.look, look) {
            known.behind = known.behind.or(look.behind);
        }
    }
}

impl OpenWait<'_> {
    /// Why, as far as can be said yet.
    pub fn cause(&self) -> Cause {
        let span = (self.start, self.start);
        cause_of(&waited(Actor::default(), self.look, span, None))
    }
}

impl SampledWait {
    /// Silent since it did something then; `is_seen`: rather than since a look did not find it.
    pub fn since(start: Nanos, is_seen: bool) -> Self {
        Self {
            start,
            is_seen,
            runs: Vec::new(),
        }
    }

    /// Remembers a look; `None` if the goroutine was elsewhere.
    pub fn look(&mut self, at: Nanos, look: Option<StackSample>) {
        let last = self.runs.last_mut();
        if let Some(run) = last.filter(|run| is_same(run.look.as_ref(), look.as_ref())) {
            run.last = at;
            run.knows_better(look);
        } else if self.runs.len() < RUNS {
            self.runs.push(Run {
                first: at,
                last: at,
                look,
                told: false,
            });
        }
    }

    /// What it waits for, as of the last look.
    pub fn open(&self) -> Option<OpenWait<'_>> {
        let last = self.runs.len().checked_sub(1)?;
        Some(OpenWait {
            look: self.runs[last].look.as_ref()?,
            start: self.begin(last).0,
            told: self.runs[last].told,
        })
    }

    /// Marks the wait as told.
    pub fn tell(&mut self) {
        if let Some(run) = self.runs.last_mut() {
            run.told = true;
        }
    }

    /// The silence ended; what it was, as operations. When one wait went over into another was
    /// between two looks: said to be in the middle, with how far it may be off.
    pub fn end(&self, by: Actor, ends: Ends) -> Vec<Operation> {
        let waits = self.runs.iter().enumerate();
        waits
            .filter_map(|(index, run)| {
                let look = run.look.as_ref()?;
                let (start, early) = self.begin(index);
                let (end, late) = self.finish(index, ends);
                if run.is_chance() && end.saturating_sub(start) < LEAVING {
                    return None;
                }
                let is_last = index + 1 == self.runs.len();
                Some(Operation {
                    uncertainty: early.max(late),
                    ..waited(
                        by,
                        look,
                        (start, end.max(start)),
                        outcome(look.op, ends, is_last),
                    )
                })
            })
            .collect()
    }

    /// When a run began, and by how much that may be off.
    fn begin(&self, index: usize) -> (Nanos, Nanos) {
        let run = &self.runs[index];
        let before = index.checked_sub(1).map(|before| self.runs[before].last);
        let earliest = before.unwrap_or(self.start);
        let stalled = run.look.as_ref().and_then(|look| look.stalled_since);
        let told = run.look.as_ref().and_then(|look| look.since);
        if let Some(told) = told.filter(|told| *told <= run.first) {
            let earliest = before.max(stalled).unwrap_or(0).min(run.first);
            return (told.max(earliest), 0);
        }
        let earliest = earliest.max(stalled.unwrap_or(0)).min(run.first);
        let gap = run.first - earliest;
        if run.is_chance() {
            return (run.first, 0);
        }
        if before.is_none() && self.is_seen && gap <= SURE {
            return (earliest, 0);
        }
        (run.first - gap / 2, gap / 2)
    }

    fn finish(&self, index: usize, ends: Ends) -> (Nanos, Nanos) {
        let run = &self.runs[index];
        match (self.runs.get(index + 1), ends) {
            (Some(_), _) => {
                let (at, uncertainty) = self.begin(index + 1);
                (at.max(run.last), uncertainty)
            }
            (None, Ends::Acts(at) | Ends::Cut(at)) => (at, 0),
            (None, Ends::Fades) => (run.last, 0),
        }
    }
}

fn is_same(one: Option<&StackSample>, other: Option<&StackSample>) -> bool {
    let key = |look: &StackSample| (look.op, look.device.clone(), look.phase, look.since);
    one.map(key) == other.map(key)
}

fn outcome(op: Op, ends: Ends, is_last: bool) -> Option<Outcome> {
    match (op, ends) {
        (_, Ends::Cut(_) | Ends::Fades) if is_last => None,
        // Nobody resolves a name or dials and then does not use it.
        (Op::Resolve | Op::Connect, _) => Some(Outcome::Timeout),
        _ => Some(Outcome::Ok),
    }
}

fn waited(
    by: Actor,
    look: &StackSample,
    (start, end): (Nanos, Nanos),
    outcome: Option<Outcome>,
) -> Operation {
    Operation {
        outcome,
        evidence: Evidence {
            frames: look.frames.clone(),
            ..Evidence::default()
        },
        phase: look.phase,
        behind: look.behind.map(|behind| behind.request),
        holder: look.behind.map(|behind| behind.cause),
        ..Operation::new(look.op, look.device.clone(), by, (start, end))
    }
}
