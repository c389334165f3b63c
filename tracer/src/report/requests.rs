//! How many requests were blocked: one that several devices blocked is one.

use std::hash::{BuildHasher, RandomState};

use tracer_format::{BorrowedText, record::Request};

use crate::bounded::BoundedMap;

/// Requests that are remembered: the hangs of one are written together, when it is over.
const REMEMBERED: usize = 1 << 14;

/// Requests that were blocked.
#[derive(Default)]
pub struct BlockedRequests {
    count: u64,
    known: BoundedMap<u64, (), REMEMBERED>,
    hasher: RandomState,
}

impl BlockedRequests {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many are remembered.
    pub fn kept(&self) -> usize {
        self.known.len()
    }

    /// What follows is of another trace.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Counts a request that was blocked.
    pub fn add(&mut self, request: &Request<BorrowedText<'_>>) {
        let key = if let Some(id) = &request.id {
            self.hasher.hash_one(id)
        } else {
            let client = (&request.client_address, request.client_port);
            self.hasher.hash_one((client, request.start))
        };
        self.count += u64::from(self.known.insert(&key));
    }
}
