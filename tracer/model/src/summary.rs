//! Totals of a trace.

use crate::time::Nanos;

/// Counts over the whole trace so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// When it ended.
    pub end: Nanos,
    /// Client requests seen to be answered.
    pub requests: u64,
    /// Whether there may have been more: with HTTP/2, while buffering.
    pub requests_at_least: bool,
    /// Of these, answered with 5xx; `None` where the status of some cannot be read, over TLS.
    pub failed_requests: Option<u64>,
    /// Entries written to audit sockets.
    pub audit_writes: u64,
    /// Hangs found.
    pub hangs: u64,
    /// Requests that met a device that failed fast.
    pub refusals: u64,
    /// Incidents found.
    pub incidents: u64,
    /// Events seen.
    pub events: u64,
    /// Records lost in the kernel, since the ring buffer was full.
    pub events_lost: u64,
}
