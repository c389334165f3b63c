//! Which request is which: the heads of entries, by request.
//!
//! A request that found its device without a connection wrote nothing to a socket; its ID is in the audit file beside it, or
//! in the server's memory. A request that queued wants to name the one that it queued behind, too.

use std::collections::{BTreeMap, VecDeque};

use tracer_model::{EntryHead, EntryQuery, RequestSeq};

use crate::request::request::Request;

/// Finished requests that are remembered: what queued behind them may still be under way.
const MAX_FINISHED: usize = 1 << 12;

#[derive(Clone, Debug, PartialEq)]
enum Name {
    Known(EntryHead),
    Asked(EntryQuery),
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct RequestNames {
    names: BTreeMap<RequestSeq, Name>,
    /// Oldest first.
    order: VecDeque<RequestSeq>,
}

impl RequestNames {
    pub(super) fn kept(&self) -> usize {
        self.names.len() + self.order.len()
    }

    /// Takes what is known of a request.
    pub(super) fn learn(&mut self, request: &Request) {
        if let Some(entry) = request.entry().filter(|entry| entry.id.is_some()) {
            for seq in request.aliases.iter().chain([&request.seq]) {
                self.insert(*seq, Name::Known(entry.clone()));
            }
        }
    }

    /// There may be an answer later.
    pub(super) fn forget(&mut self, seq: RequestSeq) {
        self.names.remove(&seq);
        self.order.retain(|other| *other != seq);
    }

    pub(super) fn asked(&mut self, seq: RequestSeq, query: EntryQuery) {
        self.insert(seq, Name::Asked(query));
    }

    pub(super) fn is_asked(&self, seq: RequestSeq) -> bool {
        matches!(self.names.get(&seq), Some(Name::Asked(_)))
    }

    fn insert(&mut self, seq: RequestSeq, name: Name) {
        if self.names.insert(seq, name).is_none() {
            self.order.push_back(seq);
        }
        if self.order.len() > MAX_FINISHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }

    /// Takes the answer to a query; returns the requests that it is for.
    pub(super) fn answered(
        &mut self,
        asked: &EntryQuery,
        entry: Option<&EntryHead>,
    ) -> Vec<RequestSeq> {
        let is_asked = |(seq, name): (&RequestSeq, &Name)| {
            matches!(name, Name::Asked(query) if query.is_answered_by(asked)).then_some(*seq)
        };
        let of: Vec<_> = self.names.iter().filter_map(is_asked).collect();
        // Two requests that asked alike cannot both have written the entry; nor is the entry of a third one theirs.
        let is_anothers = |entry: &EntryHead| {
            let known = |name: &Name| matches!(name, Name::Known(known) if known.id == entry.id);
            of.len() > 1 || self.names.values().any(known)
        };
        let entry = entry.filter(|entry| !is_anothers(entry));
        for seq in &of {
            let name = entry.map_or(Name::Unknown, |entry| Name::Known(entry.clone()));
            self.names.insert(*seq, name);
        }
        of
    }

    pub(super) fn get(&self, seq: RequestSeq) -> Option<&EntryHead> {
        match self.names.get(&seq)? {
            Name::Known(entry) => Some(entry),
            _ => None,
        }
    }
}
