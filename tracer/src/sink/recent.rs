//! A map that forgets: a trace may go on for months, and what it has told of is kept for what may
//! still be said of it soon.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Entries kept.
const KEPT: usize = 1024;

/// The newest entries by key.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// The entry; a new one, in the oldest one's place, if there is none.
    pub(super) fn entry(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key) {
            if self.order.len() == KEPT
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.entries.entry(key.clone()).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest() {
        let mut recent = Recent::default();
        for key in 0..=KEPT {
            *recent.entry(&key, || 0) += key;
        }
        assert_eq!(recent.entries.get(&0), None);
        assert_eq!(recent.entries.get(&1), Some(&1));
        assert_eq!(recent.entries.len(), KEPT);
        assert_eq!(recent.order.len(), KEPT);
    }
}
