//! What the core finds out. Sinks turn findings into lines, records or spans; no finding knows how.

use crate::{
    cause::Cause,
    device::Device,
    event::Session,
    evidence::Evidence,
    operation::{Op, Outcome},
    phase::Phase,
    request::{RequestInfo, RequestSeq},
    snapshot::Snapshot,
    summary::Summary,
    time::Nanos,
};

/// A wait this short is how networks work, ns.
pub const NEGLIGIBLE_WAIT: Nanos = 1_000_000;

/// One result of a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// The trace began.
    Session(Session),
    /// The server was started again, and the probes are attached to the new one.
    Attached(Session),
    /// A device has been holding up a request for longer than the threshold, and still does.
    Stalled(Box<Stalled>),
    /// A device blocked a request.
    Hang(Box<Hang>),
    /// A device failed fast.
    Refusal(Box<Refusal>),
    /// A connection died over entries.
    LostEntries(LostEntries),
    /// A device is silently dead and fills up.
    Filling(FillingBuffer),
    /// A request waited for the active node of the cluster.
    Forwarded(Box<Forwarded>),
    /// The server's process ended.
    Ended(Ended),
    /// A device works again, or was disabled, or the server or the trace ended, before it did.
    Incident(Incident),
    /// How things stand. Of now alone, so only what shows now is given it: it is no part of a trace.
    Snapshot(Box<Snapshot>),
    /// Something the operator should know or do.
    Warning(String),
    /// The trace is over.
    Summary(Summary),
}

impl Finding {
    /// The device that it is about, if it is about one.
    pub fn device_mut(&mut self) -> Option<&mut Device> {
        match self {
            Self::Stalled(stalled) => Some(&mut stalled.device),
            Self::Hang(hang) => Some(&mut hang.device),
            Self::Refusal(refusal) => Some(&mut refusal.device),
            Self::LostEntries(loss) => Some(&mut loss.device),
            Self::Filling(filling) => Some(&mut filling.device),
            Self::Incident(incident) => Some(&mut incident.device),
            _ => None,
        }
    }
}

/// One audit device blocked one client request.
#[derive(Clone, Debug, PartialEq)]
pub struct Hang {
    /// Its number in the trace, given when it is first reported.
    pub id: Option<u64>,
    /// First sign of the first stall.
    pub start: Nanos,
    /// End of the last stall.
    pub end: Nanos,
    /// Sum of the stalls, ns.
    pub duration: Nanos,
    /// Which device.
    pub device: Device,
    /// Which request.
    pub request: RequestInfo,
    /// What it waited for, in order.
    pub stalls: Vec<Stall>,
}

impl Hang {
    /// The stall that made the others: the first one in which time was lost. A connection that is
    /// reset costs none; the silence that follows does. Where the trace came late, what was under way then may
    /// show no cause: then what came next does.
    pub fn first_stall(&self) -> Option<&Stall> {
        let lost_time = || {
            self.stalls
                .iter()
                .filter(|stall| stall.duration >= NEGLIGIBLE_WAIT)
        };
        let shown = lost_time().find(|stall| stall.cause != Cause::Unknown);
        let shown = shown.filter(|_| self.request.lower_bound);
        shown.or(lost_time().next()).or(self.stalls.first())
    }

    /// Why: the cause of that stall, since what follows is its consequence.
    pub fn cause(&self) -> Cause {
        self.first_stall()
            .map_or(Cause::Unknown, |stall| stall.cause)
    }
}

/// One wait within a hang.
#[derive(Clone, Debug, PartialEq)]
pub struct Stall {
    /// What was asked of the socket.
    pub op: Op,
    /// For which of the request's two entries.
    pub phase: Phase,
    /// First sign of waiting.
    pub start: Nanos,
    /// How long, ns.
    pub duration: Nanos,
    /// By how much its duration may be off, ns; 0 where both ends were seen.
    pub uncertainty: Nanos,
    /// How it ended; `None` where the trace ended first.
    pub outcome: Option<Outcome>,
    /// A positive errno.
    pub errno: Option<i32>,
    /// Why.
    pub cause: Cause,
    /// What shows it.
    pub evidence: Evidence,
    /// Of a wait for the lock: who was in the device when it was first found waiting.
    pub behind: Option<RequestSeq>,
    /// The ID of that request, where known.
    pub blocked_by: Option<String>,
    /// Whether no stack showed it, but only that the request was silent while the device was stalled
    /// for others, and then used it.
    pub inferred: bool,
    /// Whether the entry was given up after this, without having been tried: its time ran out in the queue.
    pub dropped: bool,
}

/// A stall under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Stalled {
    /// Of the hang that this will be part of.
    pub hang: u64,
    /// Which device.
    pub device: Device,
    /// When the stall began.
    pub start: Nanos,
    /// When this was reported.
    pub at: Nanos,
    /// What is waited for.
    pub op: Op,
    /// The cause, as far as known yet.
    pub cause: Cause,
    /// Which request, as far as known yet.
    pub request: RequestInfo,
    /// Requests that queue behind it.
    pub waiting: u64,
    /// Whether `waiting` counts all requests under way, since the stacks cannot be read.
    pub estimated: bool,
    /// How long the device has blocked the request so far, this stall and earlier ones, ns.
    pub blocked: Nanos,
}

/// A device that failed fast.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Which device.
    pub device: Device,
    /// Which request met it.
    pub request: RequestInfo,
    /// When it first failed.
    pub start: Nanos,
    /// All failed operations of this request together, ns.
    pub duration: Nanos,
    /// Why.
    pub cause: Cause,
    /// The error of the failed operation, a positive errno.
    pub errno: Option<i32>,
    /// Of an HTTP device: the status that it answered.
    pub http_status: Option<u16>,
    /// What shows it.
    pub evidence: Evidence,
    /// Refusals of the same outage before this one: only the first is a record of its own.
    pub before: u64,
    /// Whether another device was seen to take an entry of this request.
    pub taken_elsewhere: bool,
    /// Whether nothing of the failure itself was seen, but only that other devices took the entries.
    pub inferred: bool,
}

/// A request that a standby forwarded to the active node of its cluster, and that waited there for longer than the threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Forwarded {
    /// Which request.
    pub request: RequestInfo,
    /// Where the active node listens, if that is certain.
    pub to: Option<String>,
    /// When the wait began.
    pub start: Nanos,
    /// How long, ns.
    pub duration: Nanos,
    /// By how much its duration may be off, ns; 0 where both ends were seen.
    pub uncertainty: Nanos,
}

/// The server's process ended while it was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Nanos,
    /// Client requests that were under way.
    pub under_way: u64,
}

/// One bad time of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The device.
    pub device: Device,
    /// Its first failed or stalled operation.
    pub start: Nanos,
    /// Its first success; `None` where the device was disabled, or the server or the trace ended, first. Over UDP the first of a row of them.
    pub end: Option<Nanos>,
    /// That of the first operation that shows one.
    pub cause: Cause,
    /// Hangs it made.
    pub hangs: u64,
    /// Requests of which it did not take an entry, and that it did not block.
    pub refusals: u64,
    /// Requests that it blocked or failed.
    pub requests: u64,
    /// Sum of the hangs, ns.
    pub blocked: Nanos,
    /// The longest, ns.
    pub longest: Nanos,
    /// What was lost in it; `None` where that cannot be known, or not yet: the kernel still tries.
    pub lost: Option<LossTotals>,
    /// Entries of requests that are over, which it did not take.
    pub untaken: UntakenEntries,
}

impl Incident {
    /// Takes what another record of the same outage has. The cause is that of the first that shows one.
    pub fn absorb(&mut self, other: &Self) {
        let is_first = other.start < self.start && other.cause != Cause::Unknown;
        if is_first || self.cause == Cause::Unknown {
            self.cause = other.cause;
        }
        self.untaken.absorb(&other.untaken);
        self.start = self.start.min(other.start);
        self.hangs += other.hangs;
        self.refusals += other.refusals;
        self.requests += other.requests;
        self.blocked += other.blocked;
        self.longest = self.longest.max(other.longest);
        if let Some(lost) = other.lost {
            self.lost.get_or_insert_default().add(lost);
        }
    }

    /// Where it can be seen what the device takes, nothing seen is none. `is_queue_seen`: the server's stacks can be read.
    pub fn count_untaken_from_zero(&mut self, is_queue_seen: bool) {
        if self.device.transport.is_socket() {
            self.untaken.failed.get_or_insert(0);
            if is_queue_seen {
                self.untaken.missed.get_or_insert(0);
            }
        }
    }
}

/// Entries that a device did not take in an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UntakenEntries {
    /// Tried, and not taken. `None` where it cannot be seen what a device takes: it has no socket.
    pub failed: Option<u64>,
    /// Never tried: the time that the server gives an entry ran out in the queue, and the request was answered. `None` where
    /// queueing cannot be seen, or what a device takes.
    pub missed: Option<u64>,
    /// Whether there may have been more: whose entry a sink has, cannot always be told.
    pub at_least: bool,
    /// IDs of the requests whose entries were never tried, as far as known; at most [`Self::MAX_REQUESTS`].
    pub missed_requests: Vec<String>,
}

impl UntakenEntries {
    /// Requests that are named.
    pub const MAX_REQUESTS: usize = 100;

    fn absorb(&mut self, other: &Self) {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            _ => Some(one.unwrap_or(0) + other.unwrap_or(0)),
        };
        self.failed = sum(self.failed, other.failed);
        self.missed = sum(self.missed, other.missed);
        self.at_least |= other.at_least;
        for id in &other.missed_requests {
            self.add_request(Some(id));
        }
    }

    /// Names a request whose entry was never tried.
    pub fn add_request(&mut self, id: Option<&str>) {
        let Some(id) = id else { return };
        let is_named = self.missed_requests.iter().any(|other| other == id);
        if !is_named && self.missed_requests.len() < Self::MAX_REQUESTS {
            self.missed_requests.push(id.to_owned());
        }
    }
}

/// What an incident cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossTotals {
    /// Bytes.
    pub bytes: u64,
    /// Whole entries among them.
    pub entries: u64,
}

/// Entries that died with a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct LostEntries {
    /// The device.
    pub device: Device,
    /// When the kernel gave the connection up; while it still tries, when the trace ended.
    pub at: Nanos,
    /// When the server closed it; for one that the kernel gave up first, the same.
    pub closed: Nanos,
    /// Bytes written and not acknowledged.
    pub bytes: u64,
    /// Whole entries among them.
    pub entries: u64,
    /// Ids of their requests, as far as seen.
    pub requests: Vec<String>,
    /// Whether the writing of all that was lost was seen.
    pub complete: bool,
    /// Whether the kernel was still trying to deliver them when the trace ended.
    pub pending: bool,
    /// When this was so: at the end, or, where nothing newer is known, when the server closed it.
    pub as_of: Nanos,
    /// Whether this host was seen dropping what came back: they may have arrived unacknowledged.
    pub answers_dropped: bool,
}

/// A device that is silently dead but not yet full.
#[derive(Clone, Debug, PartialEq)]
pub struct FillingBuffer {
    /// The device.
    pub device: Device,
    /// When this was seen.
    pub at: Nanos,
    /// Since when nothing more was acknowledged.
    pub since: Nanos,
    /// Memory of the send queue, bytes.
    pub queued: u64,
    /// Its limit, bytes.
    pub limit: u64,
    /// How fast it fills, bytes per second.
    pub rate: u64,
}

impl FillingBuffer {
    /// How long it goes on like this, ns; `None` if it does not fill.
    pub fn full_in(&self) -> Option<Nanos> {
        let left = self.limit.saturating_sub(self.queued);
        let nanos = u128::from(left) * 1_000_000_000;
        let nanos = nanos.checked_div(u128::from(self.rate))?;
        Nanos::try_from(nanos).ok()
    }
}

impl LossTotals {
    /// Adds another loss to it.
    pub fn add(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.entries += more.entries;
    }
}
