//! Goroutines whose requests are over: what they still do is nobody's wait.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_model::Nanos;

/// Goroutines of finished requests that are remembered.
const MAX_DETACHED: usize = 1 << 12;

/// Sinks that outlived their requests, and what goroutines did while a sample was being taken.
#[derive(Debug, Default)]
pub(crate) struct RecentlyFinished {
    detached: FxHashSet<u64>,
    order: VecDeque<u64>,
    /// Sinks that the last sample found without their request in the broker.
    alone: FxHashSet<u64>,
    /// While a sample is being taken: goroutines whose requests have ended since, and when they last acted.
    during_sample: Option<FxHashMap<u64, Nanos>>,
}

impl RecentlyFinished {
    /// A sink of a request that is over: goroutine IDs are not used again, and a sink writes one entry.
    pub(crate) fn detach(&mut self, goid: u64) {
        if self.detached.insert(goid) {
            self.order.push_back(goid);
        }
        if self.order.len() > MAX_DETACHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.detached.remove(&oldest);
        }
    }

    pub(crate) fn is_detached(&self, goid: u64) -> bool {
        self.detached.contains(&goid)
    }

    /// Sinks that this sample found without their request in the broker; those that the one before found so, too, have
    /// outlived it. The handler may be sampled just before it enters the broker.
    pub(crate) fn sampled_alone(&mut self, sinks: FxHashSet<u64>) {
        let before = std::mem::replace(&mut self.alone, sinks);
        let outlived: Vec<_> = before.intersection(&self.alone).copied().collect();
        for goid in outlived {
            self.detach(goid);
        }
    }

    pub(crate) fn is_alone(&self, goid: u64) -> bool {
        self.alone.contains(&goid)
    }

    pub(crate) fn kept(&self) -> usize {
        self.order.len()
    }

    /// A sample of the goroutines has been asked for.
    pub(crate) fn sample_begins(&mut self) {
        self.during_sample = Some(FxHashMap::default());
    }

    /// The sample has been taken in.
    pub(crate) fn sample_ends(&mut self) {
        self.during_sample = None;
    }

    /// The request that this goroutine worked on is over.
    pub(crate) fn finished(&mut self, goid: u64, last_act: Nanos) {
        if let Some(finished) = &mut self.during_sample {
            finished.insert(goid, last_act);
        }
    }

    /// Whether a sample that was taken at this time found the goroutine at a request that has ended since.
    pub(crate) fn is_outdated(&self, goid: u64, at: Nanos) -> bool {
        let finished = self.during_sample.as_ref();
        let last_act = finished.and_then(|finished| finished.get(&goid));
        last_act.is_some_and(|last_act| at <= *last_act)
    }
}
