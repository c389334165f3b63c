//! The JSON Lines trace: the public format, and the only place that knows it. Unknown values are
//! absent.

use std::io;

use serde::Serialize;

use super::{Sink, errno, line_file::LineFile, wall::WallClock};
use crate::{
    core::{
        cause,
        finding::{Finding, Hang, Refusal, RequestInfo, Stall, Summary},
        operation::{Op, Outcome},
        request::Tie,
    },
    event::{Device, Nanos, Probe, Session},
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
}

/// The line of a finding, for those that have one.
pub fn line(finding: &Finding, clock: WallClock) -> serde_json::Result<Option<String>> {
    let record = match finding {
        Finding::Session(session) => Record::Session(session_record(session, clock)),
        Finding::Hang(hang) => Record::Hang(Box::new(hang_record(hang, clock))),
        Finding::Refusal(refusal) => Record::Refusal(Box::new(refusal_record(refusal, clock))),
        Finding::Summary(summary) => Record::Summary(summary_record(summary, clock)),
        Finding::Warning(_) => return Ok(None),
    };
    serde_json::to_string(&record).map(Some)
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record<'a> {
    Session(SessionRecord<'a>),
    Hang(Box<HangRecord<'a>>),
    Refusal(Box<RefusalRecord<'a>>),
    Summary(SummaryRecord),
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
struct HangRecord<'a> {
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
}

#[derive(Serialize)]
struct StallRecord<'a> {
    op: &'static str,
    phase: &'static str,
    start: String,
    duration_ns: Nanos,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    cause: &'static str,
    evidence: EvidenceRecord<'a>,
}

#[derive(Serialize)]
struct EvidenceRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    syn_retransmits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_locally: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct SummaryRecord {
    end: String,
    requests: u64,
    audit_writes: u64,
    hangs: u64,
    refusals: u64,
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

fn hang_record(hang: &Hang, clock: WallClock) -> HangRecord<'_> {
    HangRecord {
        start: clock.rfc3339(hang.start),
        end: clock.rfc3339(hang.end),
        duration_ns: hang.duration,
        device: &hang.device,
        cause: hang.cause().name(),
        explanation: cause::explain(hang),
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
        tie: request.tie.map(Tie::name),
    }
}

fn stall_record(stall: &Stall, clock: WallClock) -> StallRecord<'_> {
    StallRecord {
        op: stall.op.name(),
        phase: stall.phase.name(),
        start: clock.rfc3339(stall.start),
        duration_ns: stall.duration,
        outcome: stall.outcome.map(Outcome::name),
        errno: stall.errno.map(errno::name),
        cause: stall.cause.name(),
        evidence: evidence_record(stall),
    }
}

fn evidence_record(stall: &Stall) -> EvidenceRecord<'_> {
    let evidence = &stall.evidence;
    EvidenceRecord {
        syn_retransmits: (stall.op == Op::Connect).then_some(evidence.syn_retransmits),
        retransmits: (stall.op == Op::Write).then_some(evidence.retransmits),
        dropped_locally: Some(evidence.dropped()).filter(|dropped| *dropped > 0),
        drop_reason: evidence.drop_reason(),
    }
}

fn summary_record(summary: &Summary, clock: WallClock) -> SummaryRecord {
    SummaryRecord {
        end: clock.rfc3339(summary.end),
        requests: summary.requests,
        audit_writes: summary.audit_writes,
        hangs: summary.hangs,
        refusals: summary.refusals,
        events: summary.events,
        events_lost: summary.events_lost,
    }
}
