//! How many requests there were, and how many failed.

use rustc_hash::FxHashSet;
use tracer_model::{BufferedTotals, Nanos};

use crate::request::{
    lifecycle::{Signal, Stage},
    request::Request,
};

/// Counts of the requests that are over.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts {
    /// Those that were answered, or hung.
    seen: u64,
    /// Whether there were more: of some only an entry was seen, others went to the active node, over TLS.
    has_unseen: bool,
    /// Answered with 5xx.
    failed: u64,
    /// Whether some answers could not be read: the client uses TLS.
    has_unread: bool,
    /// When the kernel side last ceased to buffer: it counted what was over by then.
    buffered_until: Nanos,
    /// Goroutines whose requests it counted, although their events follow.
    counted: FxHashSet<u64>,
}

impl RequestCounts {
    /// Requests seen to be answered so far, and those that hung.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Of these, those that were answered with 5xx; `None` where the status of some could not be read.
    pub(crate) fn failed(&self) -> Option<u64> {
        (!self.has_unread).then_some(self.failed)
    }

    /// Whether there were more.
    pub(crate) fn is_at_least(&self) -> bool {
        self.has_unseen
    }

    /// The kernel side ceased to buffer at this time.
    pub(super) fn buffered(&mut self, until: Nanos, totals: &BufferedTotals) {
        self.seen += totals.requests;
        self.failed += totals.failed;
        self.has_unread |= totals.unread;
        self.has_unseen |= totals.at_least;
        self.buffered_until = until;
        self.counted = totals.counted.iter().copied().collect();
    }

    /// A request is over since it got this signal.
    pub(super) fn ended(&mut self, request: &Request, signal: Signal) {
        let is_counted = self.counted.remove(&request.goid.unwrap_or(0));
        let is_answered = signal == Signal::Answered;
        // The end of a TLS handshake looks like an answer; only requests are audited.
        let is_audited = request.status.is_some() || !request.operations.is_empty();
        let is_real = is_audited || request.forward.is_some();
        if (is_answered || signal == Signal::ClientClosed) && is_real && !is_counted {
            self.seen += 1;
            if is_answered {
                self.has_unread |= request.status.is_none();
                self.failed += u64::from(request.status.is_some_and(|status| status >= 500));
            }
        }
        // Buffered entries of requests that were over are restored too, where it is not known whose goroutine wrote them.
        let goes_on = request.client.is_some() || request.last_sign > self.buffered_until;
        let has_entry = request.operations.iter().any(|o| o.entry.is_some());
        self.has_unseen |= signal == Signal::Idle && has_entry && goes_on && !is_counted;
        // Of requests over TLS that are forwarded, those are counted that a sample found.
        self.has_unseen |= request.forward.is_some() && request.status.is_none();
    }

    /// A request that was not seen to be answered hung: it is one all the same.
    pub(crate) fn hung(&mut self, request: &Request) {
        if !matches!(request.stage, Stage::Answered | Stage::Abandoned) {
            self.seen += 1;
        }
    }

    /// A server that is started again gives its goroutines the same IDs.
    pub(super) fn server_ended(&mut self) {
        self.counted.clear();
    }
}
