//! When a device's outages are worth a further line: the first at once, then when something changed, but ever less often.

use tracer_model::{Cause, Nanos};

const S: Nanos = 1_000_000_000;

/// Least time between two lines that repeat what is known with higher numbers. It doubles with each.
const FIRST_PAUSE: Nanos = 10 * S;

const LONGEST_PAUSE: Nanos = 600 * S;

/// An outage of a device that had worked for longer than this is another one, and is printed in full.
const APART: Nanos = 60 * S;

/// The outages of one device that follow each other closely.
#[derive(Debug)]
pub(super) struct Pace {
    /// Time of the last line.
    printed: Option<Nanos>,
    /// Until the next one.
    pause: Nanos,
    /// When the last outage ended, while none goes on.
    ended: Option<Nanos>,
    /// Causes of which the explanation was printed.
    explained: Vec<Cause>,
    /// Causes of which the remedy was printed.
    remedied: Vec<Cause>,
    /// What was printed of the outage that goes on.
    pub(super) shown: Printed,
    /// Outages of which nothing was printed, since the last line.
    pub(super) unprinted: u64,
}

/// What was printed of an outage.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Printed {
    /// That it began.
    pub(super) beginning: bool,
    /// A hang of it.
    pub(super) hang: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            printed: None,
            pause: FIRST_PAUSE,
            ended: None,
            explained: Vec::new(),
            remedied: Vec::new(),
            shown: Printed::default(),
            unprinted: 0,
        }
    }
}

impl Pace {
    /// Takes that an outage goes on, or begins at `since`.
    pub(super) fn goes_on(&mut self, since: Nanos) {
        if let Some(ended) = self.ended.take()
            && since > ended + APART
        {
            *self = Self::default();
        }
    }

    /// Takes the end of the outage. Returns what was printed of it.
    pub(super) fn ends(&mut self, at: Nanos) -> Printed {
        self.ended = Some(at);
        std::mem::take(&mut self.shown)
    }

    /// Whether it is time for the beginning of the outage that goes on since `since`: a long one is never left out.
    pub(super) fn may_begin(&self, since: Nanos, at: Nanos) -> bool {
        self.is_due(at) || at >= since + FIRST_PAUSE
    }

    /// Whether it is time for a further line.
    pub(super) fn is_due(&self, at: Nanos) -> bool {
        self.printed.is_none_or(|last| at >= last + self.pause)
    }

    /// Takes that something new was printed.
    pub(super) fn printed(&mut self, at: Nanos) {
        self.printed = Some(at);
        self.unprinted = 0;
    }

    /// Takes that higher numbers were printed.
    pub(super) fn repeated(&mut self, at: Nanos) {
        self.printed(at);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    pub(super) fn is_explained(&self, cause: Cause) -> bool {
        self.explained.contains(&cause)
    }

    /// Whether the cause has yet to be explained; it counts as explained from now on.
    pub(super) fn explain(&mut self, cause: Cause) -> bool {
        is_new(&mut self.explained, cause)
    }

    /// The same for its remedy.
    pub(super) fn remedy(&mut self, cause: Cause) -> bool {
        is_new(&mut self.remedied, cause)
    }
}

fn is_new(known: &mut Vec<Cause>, cause: Cause) -> bool {
    let is_new = !known.contains(&cause);
    if is_new {
        known.push(cause);
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that fails every 30 ms for a day makes few lines, and each of its outages is counted.
    #[test]
    fn a_device_that_fails_all_the_time_makes_few_lines() {
        const EVERY: Nanos = S / 33;
        let mut pace = Pace::default();
        let (mut lines, mut told, mut outages) = (0, 0, 0);
        let mut at = S;
        while at < 24 * 3600 * S {
            outages += 1;
            pace.goes_on(at);
            pace.ends(at);
            if pace.is_due(at) {
                lines += 1;
                told += 1 + pace.unprinted;
                pace.repeated(at);
            } else {
                pace.unprinted += 1;
            }
            at += EVERY;
        }
        assert_eq!(told + pace.unprinted, outages);
        assert!((100..200).contains(&lines), "{lines}");
    }

    #[test]
    fn a_long_outage_begins_a_line_however_many_there_were() {
        let mut pace = Pace::default();
        for at in (0..3600).map(|second| second * S) {
            pace.goes_on(at);
            pace.ends(at);
            if pace.is_due(at) {
                pace.repeated(at);
            }
        }
        let since = 3600 * S;
        pace.goes_on(since);
        assert!(!pace.may_begin(since, since + S));
        assert!(pace.may_begin(since, since + FIRST_PAUSE));
    }

    #[test]
    fn after_it_worked_for_long_all_is_new() {
        let mut pace = Pace::default();
        pace.goes_on(0);
        assert!(pace.explain(Cause::NoAck) && !pace.explain(Cause::NoAck));
        pace.printed(0);
        pace.ends(S);
        pace.goes_on(S + APART);
        assert!(!pace.explain(Cause::NoAck));
        pace.ends(2 * APART);
        pace.goes_on(3 * APART + S);
        assert!(pace.explain(Cause::NoAck) && pace.is_due(3 * APART + S));
    }
}
