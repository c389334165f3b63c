//! How many requests were held up: one that several devices held up is one.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use super::record::RequestHead;

/// Requests that are remembered: the hangs of one are told together, when it is over.
const MOST: usize = 1 << 14;

/// Requests that were held up.
#[derive(Default)]
pub struct Requests {
    counted: u64,
    known: HashSet<u64>,
    order: VecDeque<u64>,
    hasher: RandomState,
}

impl Requests {
    /// How many there were.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// How many are remembered.
    pub fn kept(&self) -> usize {
        self.order.len()
    }

    /// What follows is of another trace.
    pub fn forget(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    /// This one was held up.
    pub fn see(&mut self, request: &RequestHead<'_>) {
        if request.id.is_empty() && request.start.is_empty() {
            self.counted += 1;
            return;
        }
        let key = if request.id.is_empty() {
            let whose = (&request.client_address, request.client_port);
            self.hasher.hash_one((whose, &request.start))
        } else {
            self.hasher.hash_one(&request.id)
        };
        if !self.known.insert(key) {
            return;
        }
        self.counted += 1;
        self.order.push_back(key);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
