//! The largest items of a stream, and its heavy hitters, in memory that does not grow.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    mem,
};

use serde::Serialize;

use tracer_format::text::shortened;
use tracer_model::Nanos;

/// The largest items that were offered, and how many were.
#[derive(Debug)]
pub struct Largest<K, T> {
    capacity: usize,
    // By size; of equals the first that came.
    kept: BTreeMap<(K, Reverse<u64>), T>,
    offered: u64,
}

impl<K: Ord + Copy, T> Largest<K, T> {
    /// Keeps so many.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            kept: BTreeMap::new(),
            offered: 0,
        }
    }

    /// Keeps an item if it is one of the largest; only then it is made.
    pub fn offer(&mut self, size: K, make: impl FnOnce() -> Option<T>) {
        self.offered += 1;
        let key = (size, Reverse(self.offered));
        let is_full = self.kept.len() >= self.capacity;
        if is_full
            && self
                .kept
                .first_key_value()
                .is_some_and(|(least, _)| *least >= key)
        {
            return;
        }
        let Some(item) = make() else { return };
        self.kept.insert(key, item);
        if self.kept.len() > self.capacity {
            self.kept.pop_first();
        }
    }

    /// Items that are not kept.
    pub fn left_out(&self) -> u64 {
        self.offered - self.kept.len() as u64
    }

    /// Items that were offered.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Items that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Largest first.
    pub fn into_vec(self) -> Vec<T> {
        self.kept.into_values().rev().collect()
    }
}

/// Hangs, and their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HangTotals {
    /// The sum of the hangs. First, since it is what is sorted by.
    pub blocked_ns: Nanos,
    /// How many.
    pub hangs: u64,
}

impl HangTotals {
    /// Adds a hang.
    pub fn add(&mut self, blocked: Nanos) {
        self.blocked_ns = self.blocked_ns.saturating_add(blocked);
        self.hangs += 1;
    }

    fn merge(&mut self, other: Self) {
        self.blocked_ns = self.blocked_ns.saturating_add(other.blocked_ns);
        self.hangs += other.hangs;
    }
}

/// Names by the time lost for each (lossy counting). Names with little time are dropped from time to time; the largest
/// time that was dropped bounds what a name that comes back may have had before.
#[derive(Debug)]
pub struct HeavyHitters {
    capacity: usize,
    kept: HashMap<String, Entry>,
    dropped: HangTotals,
    /// What any name may have lost by being dropped.
    missed: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    totals: HangTotals,
    missed: Nanos,
}

/// One name of a ranking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// As in the trace.
    pub name: String,
    /// Its hangs.
    #[serde(flatten)]
    pub totals: HangTotals,
    /// Time that it may have lost before it was kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub at_most_more_ns: Nanos,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &Nanos) -> bool {
    *number == 0
}

impl HeavyHitters {
    /// Keeps at most twice so many.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            kept: HashMap::new(),
            dropped: HangTotals::default(),
            missed: 0,
        }
    }

    /// Adds a hang to a name; the empty name is not counted.
    pub fn add(&mut self, name: &str, blocked: Nanos) {
        if name.is_empty() {
            return;
        }
        if let Some(entry) = self.kept.get_mut(name) {
            return entry.totals.add(blocked);
        }
        let fresh = Entry {
            totals: HangTotals::default(),
            missed: self.missed,
        };
        let name = shortened(name);
        self.kept.entry(name).or_insert(fresh).totals.add(blocked);
        if self.kept.len() > 2 * self.capacity {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let mut largest = 0;
        let mut all = ranked(mem::take(&mut self.kept));
        for (_, entry) in all.split_off(self.capacity) {
            self.dropped.merge(entry.totals);
            largest = largest.max(entry.totals.blocked_ns);
        }
        self.missed = self.missed.saturating_add(largest);
        self.kept = all.into_iter().collect();
    }

    /// Names that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The first names, and the sum of the others.
    pub fn first(self, few: usize) -> (Vec<Named>, Others) {
        let mut others = Others {
            totals: self.dropped,
            names: 0,
            names_is_lower_bound: self.dropped.hangs > 0,
        };
        let all = ranked(self.kept);
        for (_, entry) in all.iter().skip(few) {
            others.totals.merge(entry.totals);
            others.names += 1;
        }
        let named = |(name, entry): (String, Entry)| Named {
            name,
            totals: entry.totals,
            at_most_more_ns: entry.missed,
        };
        (all.into_iter().take(few).map(named).collect(), others)
    }
}

/// By time lost; of equals by name, so that a report is the same each time.
fn ranked(names: HashMap<String, Entry>) -> Vec<(String, Entry)> {
    let mut all: Vec<_> = names.into_iter().collect();
    all.sort_by(|(a, x), (b, y)| y.totals.cmp(&x.totals).then_with(|| a.cmp(b)));
    all
}

/// The names that are not among the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// Their hangs.
    #[serde(flatten)]
    pub totals: HangTotals,
    /// How many names.
    pub names: u64,
    /// Whether there were more names than could be kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub names_is_lower_bound: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_largest_are_kept_and_of_equals_the_first() {
        let mut largest = Largest::new(2);
        let mut made = 0;
        for size in [3, 1, 3, 2, 3] {
            let place = largest.offered();
            largest.offer(size, || {
                made += 1;
                Some((size, place))
            });
        }
        assert_eq!((largest.left_out(), largest.len(), made), (3, 2, 3));
        assert_eq!(largest.into_vec(), [(3, 0), (3, 2)]);
    }

    #[test]
    fn heavy_hitters_are_found_among_more_names_than_are_kept() {
        let mut top = HeavyHitters::new(50);
        let mut all = HangTotals::default();
        for round in 0..1000 {
            for name in 0..20 {
                top.add(&format!("rare-{round}-{name}"), 10);
                all.add(10);
            }
            top.add("often", 100);
            all.add(100);
            assert!(top.len() <= 101);
        }
        top.add("late", 50);
        all.add(50);
        let (first, others) = top.first(3);
        let ranked = |place: usize| {
            let named = &first[place];
            (
                named.name.as_str(),
                named.totals.hangs,
                named.at_most_more_ns,
            )
        };
        assert_eq!(ranked(0), ("often", 1000, 0));
        // What came late may have come before, and says by how much.
        let (name, hangs, missed) = ranked(1);
        assert_eq!((name, hangs), ("late", 1));
        assert!(missed > 0);
        let mut sum = others.totals;
        for named in &first {
            sum.merge(named.totals);
        }
        assert_eq!(sum, all);
        assert!(others.names_is_lower_bound);
    }
}
