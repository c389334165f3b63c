//! A report as data: what `--format json` writes, and what the text and the page are made of.

use serde::Serialize;
use serde_json::{Map, Value};
use tracer_format::{
    Name, Time,
    record::{self, Device, Filling, Hang, Incident, LostEntries, Stalled},
};
use tracer_model::{Cause, Nanos, Op};

use super::{
    forwarded::ForwardedSummary,
    heavy::{HangTotals, Named, Others},
    timeline::Timeline,
};

/// A hang with all that its trace has of it, also what this version does not know.
pub type WholeHang = Hang<String, Map<String, Value>>;

/// The summary of several traces, together and one by one.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The first time in any of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// The last time in any of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// Requests that were blocked: one that two devices blocked is one.
    #[serde(rename = "requests_held_up")]
    pub requests_blocked: u64,
    /// All hangs.
    #[serde(flatten)]
    pub total: HangTotals,
    /// The longest hang.
    pub longest_ns: Nanos,
    /// Requests that met a device that failed without a hang.
    pub refusals: u64,
    /// Requests that waited for the active node of the cluster; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<ForwardedSummary>,
    /// Durations of hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentiles: Option<Percentiles>,
    /// Operations that were waited for, over all stalls of all hangs.
    pub waits: Vec<Wait>,
    /// By time lost.
    pub devices: Vec<DeviceSummary>,
    /// Devices beyond [`super::devices::DEVICES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_devices: Option<HangTotals>,
    /// The worst first.
    pub incidents: Vec<FromFile<Incident>>,
    /// How many more there were.
    pub incidents_left_out: u64,
    /// The longest first, in full.
    pub worst_hangs: Vec<FromFile<WholeHang>>,
    /// How many more there were.
    pub hangs_left_out: u64,
    /// Hangs that had not ended when their trace was cut.
    pub under_way: Vec<FromFile<Stalled>>,
    /// How many more there were.
    pub under_way_left_out: u64,
    /// Names with the most time lost.
    pub affected: Affected,
    /// Entries that were not acknowledged, the largest first.
    pub lost: Vec<FromFile<LostEntries>>,
    /// How many more there were.
    pub lost_left_out: u64,
    /// Warnings of devices that filled up silently.
    pub fillings: Vec<FromFile<Filling>>,
    /// How many more there were.
    pub fillings_left_out: u64,
    /// The traces.
    pub files: Vec<FileSummary>,
    /// For the page.
    #[serde(skip)]
    pub timeline: Timeline,
    /// Causes by their number in the timeline.
    #[serde(skip)]
    pub causes: Vec<Name<Cause>>,
}

impl Report {
    /// Whether there may be records of hangs that are not in the traces.
    pub fn lacks_records(&self) -> bool {
        self.files.iter().any(|file| file.trace.lacks_records())
    }

    /// Whether no device stalled or failed.
    pub fn is_clean(&self) -> bool {
        self.total.hangs == 0
            && self.refusals == 0
            && self.lost.is_empty()
            && self.fillings.is_empty()
            && self.under_way.is_empty()
            && self.incidents.is_empty()
    }
}

/// A record, and the index of its file in `files`.
#[derive(Debug, Serialize)]
pub struct FromFile<T> {
    /// From 0.
    pub file: usize,
    /// As in the trace.
    #[serde(flatten)]
    pub record: T,
}

/// Percentiles of the durations of hangs.
#[derive(Debug, Serialize)]
pub struct Percentiles {
    /// Relative precision.
    pub precision: f64,
    /// Median.
    pub p50_ns: Nanos,
    /// 90th.
    pub p90_ns: Nanos,
    /// 99th.
    pub p99_ns: Nanos,
    /// 99.9th.
    pub p999_ns: Nanos,
}

/// One kind of wait.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// The operation.
    pub op: Name<Op>,
    /// Number of stalls.
    pub count: u64,
    /// Their sum.
    pub duration_ns: Nanos,
}

/// One device.
#[derive(Debug, Serialize)]
pub struct DeviceSummary {
    /// The device.
    pub device: Device,
    /// Its hangs.
    #[serde(flatten)]
    pub total: HangTotals,
    /// The longest of them.
    pub longest_ns: Nanos,
    /// Requests that it failed without a hang.
    pub refusals: u64,
    /// Of these, those written down since its last incident.
    #[serde(skip)]
    pub refusals_written: u64,
    /// Causes, by time lost.
    pub causes: Vec<CauseSummary>,
    /// Its incidents.
    pub incidents: u64,
    /// Those without an end.
    pub incidents_open: u64,
    /// Entries that were never acknowledged.
    pub lost: Lost,
    /// Entries that the kernel was still trying to deliver when the trace ended.
    pub pending: Lost,
    /// The most requests that queued behind a blocked one.
    pub most_waiting: u64,
    /// Warnings that its send buffer filled up.
    pub fillings: u64,
    /// Its place in the timeline.
    #[serde(skip)]
    pub lane: usize,
}

/// One cause of a device's hangs and refusals.
#[derive(Debug, Serialize)]
pub struct CauseSummary {
    /// As in the trace.
    pub cause: Name<Cause>,
    /// Hangs.
    #[serde(flatten)]
    pub total: HangTotals,
    /// Requests that failed without a hang.
    pub refusals: u64,
    /// The explanation of the longest of them.
    pub explanation: String,
    /// The hang that it is of: whether its request was in the device itself, and its duration.
    #[serde(skip)]
    pub explained_by: Option<(bool, Nanos)>,
}

/// Audit entries that were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Whole entries.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
    /// Whether there may be more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_lower_bound: bool,
}

/// Names with the most time lost.
#[derive(Debug, Serialize)]
pub struct Affected {
    /// Paths of requests.
    pub paths: Ranking,
    /// `read`, ...
    pub operations: Ranking,
    /// Addresses of clients.
    pub clients: Ranking,
}

/// Names by the time lost.
#[derive(Debug, Serialize)]
pub struct Ranking {
    /// The first.
    pub top: Vec<Named>,
    /// The rest.
    pub others: Others,
}

/// A session without its probes.
#[derive(Debug, Serialize)]
pub struct SessionSummary {
    /// Of vault-tracer.
    pub version: String,
    /// The server's process.
    pub pid: i32,
    /// Its executable.
    pub exe: String,
    /// `uname -r`
    pub kernel: String,
    /// The Go version that the server was built with.
    pub go_version: Option<String>,
    /// When the probes were attached.
    pub start: Time,
}

impl From<record::Session> for SessionSummary {
    fn from(session: record::Session) -> Self {
        Self {
            version: session.version,
            pid: session.pid,
            exe: session.exe,
            kernel: session.kernel,
            go_version: session.go_version,
            start: session.start,
        }
    }
}

/// One trace file.
#[derive(Debug, Default, Serialize)]
pub struct FileSummary {
    /// Its name.
    pub file: String,
    /// The sessions in it, and re-attachments to a server that was started again.
    pub sessions: Vec<SessionSummary>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub sessions_left_out: u64,
    /// The first time in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// The last time in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// Its hangs.
    #[serde(flatten)]
    pub total: HangTotals,
    /// The longest.
    pub longest_ns: Nanos,
    /// Requests that a device failed at once.
    pub refusals: u64,
    /// Its incidents.
    pub incidents: u64,
    /// Entries that were never acknowledged.
    pub lost: Lost,
    /// Requests in its summaries; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Whether there may have been more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub requests_is_lower_bound: bool,
    /// Of these, answered with 5xx; absent where the status cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_requests: Option<u64>,
    /// Entries written to audit sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_writes: Option<u64>,
    /// What the file lacks.
    #[serde(flatten)]
    pub trace: Completeness,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a trace file lacks.
#[derive(Debug, Default, Serialize)]
pub struct Completeness {
    /// Lines that are records.
    pub records: u64,
    /// Records of types that this version does not know.
    pub unknown_records: u64,
    /// Each session has a summary, or goes on in another file.
    pub complete: bool,
    /// It begins with a session.
    pub has_beginning: bool,
    /// It goes on with the trace of an earlier file, as its part of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// Its trace goes on in a later file, as the part of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_part: Option<u32>,
    /// Its last line, or its compressed data, ends in the middle.
    pub torn: bool,
    /// Lines that are no records.
    pub damaged_lines: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_damaged: Option<Damage>,
    /// Events that the agent received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Events that the kernel had no room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_lost: Option<u64>,
    /// Hangs that a summary counts and that are not in the file.
    pub hangs_missing: u64,
}

impl Completeness {
    /// Whether there may have been records that are not in it. One that only lacks its end may be written still, and
    /// the beginning of one that was rotated is in another file.
    pub fn lacks_records(&self) -> bool {
        self.torn
            || self.damaged_lines > 0
            || self.events_lost.unwrap_or(0) > 0
            || self.hangs_missing > 0
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.complete
            && self.has_beginning
            && !self.torn
            && self.damaged_lines == 0
            && self.events_lost.unwrap_or(0) == 0
            && self.hangs_missing == 0
    }
}

/// The first line that is no record.
#[derive(Debug, Serialize)]
pub struct Damage {
    /// From 1.
    pub line: u64,
    /// The error.
    pub why: String,
}
