//! The JSON Lines trace: the public format, and the only place that knows it. Unknown values are
//! absent.

use std::io;

use serde::Serialize;
use serde_json::Value;

use super::{Sink, errno, line_file::LineFile, wall::WallClock};
use tracer_core::explain;
use tracer_model::{
    Attribution, Device, DropKind, FillingBuffer, Finding, Hang, Incident, LostEntries, Nanos, Op,
    Outcome, Probe, Refusal, RequestInfo, Session, Stall, Stalled, Summary, Tcp,
};

/// Writes findings.
pub struct Jsonl {
    file: LineFile,
    clock: WallClock,
}

impl Jsonl {
    /// Into this file.
    pub fn new(file: LineFile) -> Self {
        Self {
            file,
            clock: WallClock::default(),
        }
    }
}

impl Sink<Finding> for Jsonl {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        if let Finding::Session(session) = finding {
            self.clock = WallClock::of(session);
        }
        match line(finding, self.clock)? {
            Some(line) => self.file.write_line(&line),
            None => Ok(()),
        }
    }

    fn name(&self) -> String {
        self.file.name()
    }

    fn kind(&self) -> &'static str {
        "trace"
    }
}

/// The line of a finding, for those that have one.
pub fn line(finding: &Finding, clock: WallClock) -> serde_json::Result<Option<String>> {
    let record = record(finding, clock);
    record.as_ref().map(serde_json::to_string).transpose()
}

/// The same as an object, for sinks that show its fields in another way.
pub(super) fn object(finding: &Finding, clock: WallClock) -> serde_json::Result<Option<Value>> {
    record(finding, clock).map(serde_json::to_value).transpose()
}

fn record(finding: &Finding, clock: WallClock) -> Option<Record<'_>> {
    Some(match finding {
        Finding::Session(session) => Record::Session(session_record(session, clock)),
        Finding::Attached(session) => Record::Attached(session_record(session, clock)),
        Finding::Stalled(stalled) => Record::Stalled(Box::new(stalled_record(stalled, clock))),
        Finding::Hang(hang) => Record::Hang(Box::new(hang_record(hang, clock))),
        Finding::Refusal(refusal) => Record::Refusal(Box::new(refusal_record(refusal, clock))),
        Finding::LostEntries(loss) => Record::LostEntries(lost_record(loss, clock)),
        Finding::Filling(filling) => Record::Filling(filling_record(filling, clock)),
        Finding::Incident(incident) => Record::Incident(incident_record(incident, clock)),
        Finding::Ended(ended) => Record::Ended(EndedRecord {
            at: clock.rfc3339(ended.at),
            requests: ended.under_way,
        }),
        Finding::Summary(summary) => Record::Summary(summary_record(summary, clock)),
        Finding::Snapshot(_) | Finding::Warning(_) => return None,
    })
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record<'a> {
    Session(SessionRecord<'a>),
    Attached(SessionRecord<'a>),
    Stalled(Box<StalledRecord<'a>>),
    Hang(Box<HangRecord<'a>>),
    Refusal(Box<RefusalRecord<'a>>),
    LostEntries(LostRecord<'a>),
    Filling(FillingRecord<'a>),
    Incident(IncidentRecord<'a>),
    Ended(EndedRecord),
    Summary(SummaryRecord),
}

#[derive(Serialize)]
struct EndedRecord {
    at: String,
    /// Client requests that were under way.
    requests: u64,
}

#[derive(Serialize)]
struct SessionRecord<'a> {
    version: &'a str,
    pid: i32,
    exe: &'a str,
    kernel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    go_version: Option<&'a str>,
    start: String,
    probes: &'a [Probe],
}

#[derive(Serialize)]
struct StalledRecord<'a> {
    hang: String,
    device: &'a Device,
    start: String,
    at: String,
    op: &'static str,
    cause: &'static str,
    request: RequestRecord<'a>,
    waiting: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    waiting_is_estimate: bool,
    blocked_ns: Nanos,
}

#[derive(Serialize)]
struct HangRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    start: String,
    end: String,
    duration_ns: Nanos,
    device: &'a Device,
    cause: &'static str,
    explanation: String,
    request: RequestRecord<'a>,
    stalls: Vec<StallRecord<'a>>,
}

#[derive(Serialize)]
struct RefusalRecord<'a> {
    device: &'a Device,
    request: RequestRecord<'a>,
    start: String,
    duration_ns: Nanos,
    cause: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    explanation: String,
}

#[derive(Serialize)]
struct LostRecord<'a> {
    device: &'a Device,
    at: String,
    bytes: u64,
    entries: u64,
    requests: &'a [String],
    complete: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    explanation: String,
}

#[derive(Serialize)]
struct FillingRecord<'a> {
    device: &'a Device,
    at: String,
    silent_since: String,
    send_queue_bytes: u64,
    send_buffer_bytes: u64,
    bytes_per_second: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_in_ns: Option<Nanos>,
    explanation: String,
}

#[derive(Serialize)]
struct IncidentRecord<'a> {
    device: &'a Device,
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    cause: &'static str,
    hangs: u64,
    requests: u64,
    blocked_ns: Nanos,
    longest_ns: Nanos,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_entries: Option<u64>,
}

#[derive(Serialize)]
struct RequestRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_version: Option<&'static str>,
    start: String,
    duration_ns: Nanos,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duration_is_lower_bound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tie: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

#[derive(Serialize)]
struct StallRecord<'a> {
    op: &'static str,
    phase: &'static str,
    start: String,
    duration_ns: Nanos,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncertainty_ns: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    cause: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_by: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inferred: bool,
    evidence: EvidenceRecord<'a>,
}

/// Counts, the connection when the stall began, and the same at its end.
#[derive(Serialize)]
struct EvidenceRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    syn_retransmits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u32>,
    #[serde(flatten)]
    begin: Option<SnapshotRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_end: Option<SnapshotRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_locally: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_hook: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    frames: &'a [String],
}

#[derive(Default, Serialize)]
struct SnapshotRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    unacked_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsent_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_queue_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_buffer_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_window_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rto_ns: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    srtt_ns: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ack_age_ns: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_probes: Option<u32>,
}

#[derive(Serialize)]
struct SummaryRecord {
    end: String,
    requests: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    requests_is_lower_bound: bool,
    audit_writes: u64,
    hangs: u64,
    refusals: u64,
    incidents: u64,
    events: u64,
    events_lost: u64,
}

fn session_record(session: &Session, clock: WallClock) -> SessionRecord<'_> {
    SessionRecord {
        version: &session.version,
        pid: session.pid,
        exe: &session.exe,
        kernel: &session.kernel,
        go_version: session.go_version.as_deref(),
        start: clock.rfc3339(session.began),
        probes: &session.probes,
    }
}

fn stalled_record(stalled: &Stalled, clock: WallClock) -> StalledRecord<'_> {
    StalledRecord {
        hang: hang_id(stalled.hang),
        device: &stalled.device,
        start: clock.rfc3339(stalled.start),
        at: clock.rfc3339(stalled.at),
        op: stalled.op.name(),
        cause: stalled.cause.name(),
        request: request_record(&stalled.request, clock),
        waiting: stalled.waiting,
        waiting_is_estimate: stalled.estimated,
        blocked_ns: stalled.blocked,
    }
}

fn hang_id(number: u64) -> String {
    format!("hang-{number}")
}

fn hang_record(hang: &Hang, clock: WallClock) -> HangRecord<'_> {
    HangRecord {
        id: hang.id.map(hang_id),
        start: clock.rfc3339(hang.start),
        end: clock.rfc3339(hang.end),
        duration_ns: hang.duration,
        device: &hang.device,
        cause: hang.cause().name(),
        explanation: explain::hang(hang),
        request: request_record(&hang.request, clock),
        stalls: hang.stalls.iter().map(|s| stall_record(s, clock)).collect(),
    }
}

fn refusal_record(refusal: &Refusal, clock: WallClock) -> RefusalRecord<'_> {
    RefusalRecord {
        device: &refusal.device,
        request: request_record(&refusal.request, clock),
        start: clock.rfc3339(refusal.start),
        duration_ns: refusal.duration,
        cause: refusal.cause.name(),
        errno: refusal.errno.map(errno::name),
        explanation: explain::refusal(refusal),
    }
}

fn lost_record(loss: &LostEntries, clock: WallClock) -> LostRecord<'_> {
    LostRecord {
        device: &loss.device,
        at: clock.rfc3339(loss.at),
        bytes: loss.bytes,
        entries: loss.entries,
        requests: &loss.requests,
        complete: loss.complete,
        pending: loss.pending,
        as_of: loss.pending.then(|| clock.rfc3339(loss.as_of)),
        explanation: explain::loss(loss),
    }
}

fn filling_record(filling: &FillingBuffer, clock: WallClock) -> FillingRecord<'_> {
    FillingRecord {
        device: &filling.device,
        at: clock.rfc3339(filling.at),
        silent_since: clock.rfc3339(filling.since),
        send_queue_bytes: filling.queued,
        send_buffer_bytes: filling.limit,
        bytes_per_second: filling.rate,
        full_in_ns: filling.full_in(),
        explanation: explain::filling(filling),
    }
}

fn incident_record(incident: &Incident, clock: WallClock) -> IncidentRecord<'_> {
    IncidentRecord {
        device: &incident.device,
        start: clock.rfc3339(incident.start),
        end: incident.end.map(|end| clock.rfc3339(end)),
        cause: incident.cause.name(),
        hangs: incident.hangs,
        requests: incident.requests,
        blocked_ns: incident.blocked,
        longest_ns: incident.longest,
        lost_bytes: incident.lost.map(|lost| lost.bytes),
        lost_entries: incident.lost.map(|lost| lost.entries),
    }
}

fn request_record(request: &RequestInfo, clock: WallClock) -> RequestRecord<'_> {
    RequestRecord {
        id: request.id.as_deref(),
        operation: request.operation.as_deref(),
        path: request.path.as_deref(),
        client_address: request.client.map(|client| client.ip().to_string()),
        client_port: request.client.map(|client| client.port()),
        http_version: request.http_version,
        start: clock.rfc3339(request.start),
        duration_ns: request.duration,
        duration_is_lower_bound: request.lower_bound,
        tie: request.tie.map(Attribution::name),
        status: request.status,
    }
}

fn stall_record(stall: &Stall, clock: WallClock) -> StallRecord<'_> {
    StallRecord {
        op: stall.op.name(),
        phase: stall.phase.name(),
        start: clock.rfc3339(stall.start),
        duration_ns: stall.duration,
        uncertainty_ns: Some(stall.uncertainty).filter(|uncertainty| *uncertainty > 0),
        outcome: stall.outcome.map(Outcome::name),
        errno: stall.errno.map(errno::name),
        cause: stall.cause.name(),
        blocked_by: stall.blocked_by.as_deref(),
        inferred: stall.inferred,
        evidence: evidence_record(stall, clock),
    }
}

fn evidence_record(stall: &Stall, clock: WallClock) -> EvidenceRecord<'_> {
    let evidence = &stall.evidence;
    let kinds = [DropKind::Rule, DropKind::NoWay, DropKind::Unnamed];
    let dropped = kinds
        .iter()
        .map(|kind| evidence.dropped(*kind))
        .sum::<u32>();
    let drop = evidence.main_drop();
    EvidenceRecord {
        syn_retransmits: (stall.op == Op::Connect).then_some(evidence.syn_retransmits),
        retransmits: (stall.op == Op::Write).then_some(evidence.retransmits),
        begin: evidence
            .begin
            .as_ref()
            .map(|tcp| snapshot_record(stall.op, tcp)),
        at_end: evidence
            .end
            .as_ref()
            .map(|tcp| snapshot_record(stall.op, tcp)),
        silent_since: evidence.silent_since.map(|since| clock.rfc3339(since)),
        dropped_locally: (dropped > 0).then_some(dropped),
        drop_reason: drop.map(|drop| drop.reason.as_str()),
        frames: &evidence.frames,
        drop_hook: drop.map(|drop| if drop.incoming { "input" } else { "output" }),
    }
}

fn snapshot_record(op: Op, tcp: &Tcp) -> SnapshotRecord {
    if op == Op::Connect {
        // Before a connection there is no more: no data, no window, no ACK.
        return SnapshotRecord {
            rto_ns: tcp.rto,
            ..SnapshotRecord::default()
        };
    }
    SnapshotRecord {
        unacked_bytes: Some(tcp.unacked()),
        unsent_bytes: Some(tcp.unsent()),
        send_queue_bytes: tcp.queued,
        send_buffer_bytes: tcp.limit,
        peer_window_bytes: tcp.window,
        rto_ns: tcp.rto,
        srtt_ns: tcp.srtt,
        last_ack_age_ns: tcp.ack_age,
        window_probes: tcp.probes,
    }
}

fn summary_record(summary: &Summary, clock: WallClock) -> SummaryRecord {
    SummaryRecord {
        end: clock.rfc3339(summary.end),
        requests: summary.requests,
        requests_is_lower_bound: summary.requests_at_least,
        audit_writes: summary.audit_writes,
        hangs: summary.hangs,
        refusals: summary.refusals,
        incidents: summary.incidents,
        events: summary.events,
        events_lost: summary.events_lost,
    }
}
