//! A map that forgets: a trace may go on for months.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// The newest entries by key, at most `CAPACITY` of them.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V, const CAPACITY: usize> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V, const CAPACITY: usize> Default for BoundedMap<K, V, CAPACITY> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V, const CAPACITY: usize> BoundedMap<K, V, CAPACITY> {
    /// The entry; a new one, in the oldest one's place, if there is none.
    pub(crate) fn entry(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key) {
            if self.order.len() == CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.entries.entry(key.clone()).or_insert_with(new)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Forgets all entries.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

impl<K: Clone + Eq + Hash, const CAPACITY: usize> BoundedMap<K, (), CAPACITY> {
    /// Adds a key; false if it is there.
    pub(crate) fn insert(&mut self, key: &K) -> bool {
        let is_new = !self.entries.contains_key(key);
        self.entry(key, || ());
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest() {
        let mut bounded = BoundedMap::<_, _, 3>::default();
        for key in 0..=3 {
            *bounded.entry(&key, || 0) += key;
        }
        assert_eq!(bounded.entries.get(&0), None);
        assert_eq!(bounded.entries.get(&1), Some(&1));
        assert_eq!((bounded.entries.len(), bounded.len()), (3, 3));
    }

    #[test]
    fn keys_are_new_once() {
        let mut set = BoundedMap::<_, _, 2>::default();
        assert_eq!(
            [1, 1, 2, 3, 1].map(|key| set.insert(&key)),
            [true, false, true, true, true]
        );
    }
}
