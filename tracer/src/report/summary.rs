//! A report, before it is text or a page: what `--format json` writes.

use serde::Serialize;
use serde_json::{Map, Value};
use tracer_format::{
    Name, Time,
    record::{self, Device, Filling, Hang, Incident, LostEntries, Stalled},
};
use tracer_model::{Cause, Nanos, Op};

use super::{
    heavy::{HangTotals, Named, Others},
    timeline::Timeline,
};

/// A hang with all that its trace has of it, also what this version does not know.
pub type WholeHang = Hang<String, Map<String, Value>>;

/// What several traces say, all together and one by one.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The first session's beginning, or the first time seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// The last end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// Requests that were held up: a request that two devices held up is one.
    pub requests_held_up: u64,
    /// All hangs.
    #[serde(flatten)]
    pub total: HangTotals,
    /// The longest.
    pub longest_ns: Nanos,
    /// Requests that met a device that failed at once.
    pub refusals: u64,
    /// How long hangs were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentiles: Option<Percentiles>,
    /// What was waited for, over all stalls of all hangs.
    pub waits: Vec<Wait>,
    /// One by one, the one that cost most first.
    pub devices: Vec<DeviceSummary>,
    /// Devices beyond those that are told apart.
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
    /// Who lost most.
    pub affected: Affected,
    /// Entries that were not acknowledged, the largest first.
    pub lost: Vec<FromFile<LostEntries>>,
    /// How many more there were.
    pub lost_left_out: u64,
    /// Warnings of devices that filled up silently.
    pub fillings: Vec<FromFile<Filling>>,
    /// How many more there were.
    pub fillings_left_out: u64,
    /// One by one.
    pub files: Vec<FileSummary>,
    /// When what happened; for the picture.
    #[serde(skip)]
    pub timeline: Timeline,
    /// Causes as the timeline numbers them.
    #[serde(skip)]
    pub causes: Vec<Name<Cause>>,
}

impl Report {
    /// Whether there is nothing bad to tell.
    pub fn is_clean(&self) -> bool {
        self.total.hangs == 0
            && self.refusals == 0
            && self.lost.is_empty()
            && self.fillings.is_empty()
            && self.under_way.is_empty()
            && self.incidents.is_empty()
    }
}

/// A record, and the place of its file in `files`.
#[derive(Debug, Serialize)]
pub struct FromFile<T> {
    /// From 0.
    pub file: usize,
    /// As in the trace.
    #[serde(flatten)]
    pub record: T,
}

/// Of the durations of hangs.
#[derive(Debug, Serialize)]
pub struct Percentiles {
    /// Each is so exact, relatively.
    pub precision: f64,
    /// Half of all hangs were shorter.
    pub p50_ns: Nanos,
    /// Nine of ten.
    pub p90_ns: Nanos,
    /// 99 of 100.
    pub p99_ns: Nanos,
    /// 999 of 1000.
    pub p999_ns: Nanos,
}

/// One kind of wait.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// `connect`, `write`, `lock`
    pub op: Name<Op>,
    /// How often.
    pub count: u64,
    /// How long in all.
    pub duration_ns: Nanos,
}

/// One device.
#[derive(Debug, Serialize)]
pub struct DeviceSummary {
    /// Which.
    pub device: Device,
    /// Its hangs.
    #[serde(flatten)]
    pub total: HangTotals,
    /// The longest.
    pub longest_ns: Nanos,
    /// Requests it failed at once.
    pub refusals: u64,
    /// Why, the dearest first.
    pub causes: Vec<CauseSummary>,
    /// Its incidents.
    pub incidents: u64,
    /// Those that had not ended when their trace did.
    pub incidents_open: u64,
    /// Entries that were never acknowledged.
    pub lost: Lost,
    /// Those of which the kernel was still trying to deliver the bytes when the trace ended.
    pub pending: Lost,
    /// The most requests that were seen to queue behind one that it held up.
    pub most_waiting: u64,
    /// Warnings that it filled up.
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
    /// Requests failed at once.
    pub refusals: u64,
    /// Of the longest of them.
    pub explanation: String,
}

/// Entries lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Whole ones.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
    /// Whether there may be more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_lower_bound: bool,
}

/// Who lost most.
#[derive(Debug, Serialize)]
pub struct Affected {
    /// Paths.
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
    /// When it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// When it ends, as far as it tells.
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
    /// As its summaries say; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Whether there may have been more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub requests_is_lower_bound: bool,
    /// Entries written to audit sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_writes: Option<u64>,
    /// What the trace itself lost.
    #[serde(flatten)]
    pub trace: Completeness,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whether a trace is all there.
#[derive(Debug, Default, Serialize)]
pub struct Completeness {
    /// Lines that were records.
    pub records: u64,
    /// Of types that this version does not know.
    pub unknown_records: u64,
    /// Each session has its summary.
    pub complete: bool,
    /// Whether it begins with a session.
    pub has_beginning: bool,
    /// Whether its last line, or its compressed data, ends in the middle.
    pub torn: bool,
    /// Lines that are no records.
    pub damaged_lines: u64,
    /// The first of them, and what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_damaged: Option<Damage>,
    /// Events that were told to the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Events that the kernel had no room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_lost: Option<u64>,
    /// Hangs that a summary counts and the file does not hold.
    pub hangs_missing: u64,
}

impl Completeness {
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

/// A line that is no record.
#[derive(Debug, Serialize)]
pub struct Damage {
    /// From 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}
