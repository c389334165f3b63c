//! From findings to records. Unknown values are absent.

use tracer_model as model;
use tracer_model::{DropKind, Finding, Op};

use crate::{
    Name, WallClock, errno_name,
    record::{
        Device, Ended, Evidence, Filling, Hang, Incident, LostEntries, Probe, Record, Refusal,
        Request, Session, Stall, Stalled, Summary, TcpState,
    },
    text,
};

impl Record {
    /// The record of a finding, for those that are part of a trace.
    pub fn of(finding: &Finding, clock: WallClock) -> Option<Self> {
        Some(match finding {
            Finding::Session(session) => Self::Session(Session::of(session, clock)),
            Finding::Attached(session) => Self::Attached(Session::of(session, clock)),
            Finding::Stalled(stalled) => Self::Stalled(Box::new(Stalled::of(stalled, clock))),
            Finding::Hang(hang) => Self::Hang(Box::new(Hang::of(hang, clock))),
            Finding::Refusal(refusal) => Self::Refusal(Box::new(Refusal::of(refusal, clock))),
            Finding::LostEntries(loss) => Self::LostEntries(LostEntries::of(loss, clock)),
            Finding::Filling(filling) => Self::Filling(Filling::of(filling, clock)),
            Finding::Incident(incident) => Self::Incident(Incident::of(incident, clock)),
            Finding::Ended(ended) => Self::Ended(Ended::of(*ended, clock)),
            Finding::Summary(summary) => Self::Summary(Summary::of(summary, clock)),
            Finding::Snapshot(_) | Finding::Warning(_) => return None,
        })
    }
}

/// The `id` of a hang, as its records and those that refer to it have it.
pub fn hang_id(number: u64) -> String {
    format!("hang-{number}")
}

impl Session {
    /// Of a trace that begins, or of a server that was started again.
    pub fn of(session: &model::Session, clock: WallClock) -> Self {
        let probe = |probe: &model::Probe| Probe {
            hook: probe.hook.clone(),
            kind: probe.kind.clone(),
        };
        Self {
            version: session.version.clone(),
            pid: session.pid,
            exe: session.exe.clone(),
            kernel: session.kernel.clone(),
            go_version: session.go_version.clone(),
            start: clock.time(session.began),
            probes: session.probes.iter().map(probe).collect(),
        }
    }
}

impl From<&model::Device> for Device {
    fn from(device: &model::Device) -> Self {
        Self {
            transport: device.transport.into(),
            address: device.address.clone(),
        }
    }
}

impl Stalled {
    /// Of a stall under way.
    pub fn of(stalled: &model::Stalled, clock: WallClock) -> Self {
        Self {
            hang: hang_id(stalled.hang),
            device: (&stalled.device).into(),
            start: clock.time(stalled.start),
            at: clock.time(stalled.at),
            op: stalled.op.into(),
            cause: stalled.cause.into(),
            request: Request::of(&stalled.request, clock),
            waiting: stalled.waiting,
            waiting_is_estimate: stalled.estimated,
            blocked_ns: stalled.blocked,
        }
    }
}

impl Hang {
    /// Of a request that is blocked no more.
    pub fn of(hang: &model::Hang, clock: WallClock) -> Self {
        Self {
            id: hang.id.map(hang_id),
            start: clock.time(hang.start),
            end: clock.time(hang.end),
            duration_ns: hang.duration,
            device: (&hang.device).into(),
            cause: hang.cause().into(),
            explanation: text::explain::hang(hang),
            request: Request::of(&hang.request, clock),
            stalls: hang.stalls.iter().map(|s| Stall::of(s, clock)).collect(),
        }
    }
}

impl Refusal {
    /// Of a device that failed without a hang.
    pub fn of(refusal: &model::Refusal, clock: WallClock) -> Self {
        Self {
            device: (&refusal.device).into(),
            request: Request::of(&refusal.request, clock),
            start: clock.time(refusal.start),
            duration_ns: refusal.duration,
            cause: refusal.cause.into(),
            errno: refusal.errno.map(errno_name),
            explanation: text::explain::refusal(refusal),
        }
    }
}

impl LostEntries {
    /// Of a connection that was closed over unacknowledged data.
    pub fn of(loss: &model::LostEntries, clock: WallClock) -> Self {
        Self {
            device: (&loss.device).into(),
            at: clock.time(loss.at),
            bytes: loss.bytes,
            entries: loss.entries,
            requests: loss.requests.clone(),
            complete: loss.complete,
            pending: loss.pending,
            as_of: loss.pending.then(|| clock.time(loss.as_of)),
            explanation: text::explain::loss(loss),
        }
    }
}

impl Filling {
    /// Of a device that acknowledges nothing.
    pub fn of(filling: &model::FillingBuffer, clock: WallClock) -> Self {
        Self {
            device: (&filling.device).into(),
            at: clock.time(filling.at),
            silent_since: clock.time(filling.since),
            send_queue_bytes: filling.queued,
            send_buffer_bytes: filling.limit,
            bytes_per_second: filling.rate,
            full_in_ns: filling.full_in(),
            explanation: text::explain::filling(filling),
        }
    }
}

impl Incident {
    /// Of a device that works again, or of a trace that ends before it does.
    pub fn of(incident: &model::Incident, clock: WallClock) -> Self {
        Self {
            device: (&incident.device).into(),
            start: clock.time(incident.start),
            end: incident.end.map(|end| clock.time(end)),
            cause: incident.cause.into(),
            hangs: incident.hangs,
            requests: incident.requests,
            blocked_ns: incident.blocked,
            longest_ns: incident.longest,
            lost_bytes: incident.lost.map(|lost| lost.bytes),
            lost_entries: incident.lost.map(|lost| lost.entries),
            failed_entries: Some(incident.untaken.failed),
            missed_entries: incident.untaken.missed,
            missed_requests: incident.untaken.missed_requests.clone(),
        }
    }
}

impl Request {
    /// As far as it is known.
    pub fn of(request: &model::RequestInfo, clock: WallClock) -> Self {
        Self {
            id: request.id.clone(),
            operation: request.operation.clone(),
            path: request.path.clone(),
            client_address: request.client.map(|client| client.ip().to_string()),
            client_port: request.client.map(|client| client.port()),
            http_version: request.http_version.map(str::to_owned),
            start: clock.time(request.start),
            duration_ns: request.duration,
            duration_is_lower_bound: request.lower_bound,
            tie: request.tie.map(Name::from),
            status: request.status,
        }
    }
}

impl Stall {
    /// One wait.
    pub fn of(stall: &model::Stall, clock: WallClock) -> Self {
        Self {
            op: stall.op.into(),
            phase: stall.phase.into(),
            start: clock.time(stall.start),
            duration_ns: stall.duration,
            uncertainty_ns: Some(stall.uncertainty).filter(|uncertainty| *uncertainty > 0),
            outcome: stall.outcome.map(Name::from),
            errno: stall.errno.map(errno_name),
            cause: stall.cause.into(),
            blocked_by: stall.blocked_by.clone(),
            inferred: stall.inferred,
            evidence: Evidence::of(stall, clock),
        }
    }
}

impl Evidence {
    /// What was seen during a stall.
    pub fn of(stall: &model::Stall, clock: WallClock) -> Self {
        let evidence = &stall.evidence;
        let state = |tcp: &model::Tcp| TcpState::of(stall.op, tcp);
        let kinds = [DropKind::Rule, DropKind::NoWay, DropKind::Unnamed];
        let dropped: u32 = kinds.iter().map(|kind| evidence.dropped(*kind)).sum();
        let drop = evidence.main_drop();
        let hook = |incoming| if incoming { "input" } else { "output" };
        Self {
            syn_retransmits: (stall.op == Op::Connect).then_some(evidence.syn_retransmits),
            retransmits: (stall.op == Op::Write).then_some(evidence.retransmits),
            begin: evidence.begin.as_ref().map(state).unwrap_or_default(),
            at_end: evidence.end.as_ref().map(state),
            silent_since: evidence.silent_since.map(|since| clock.time(since)),
            dropped_locally: (dropped > 0).then_some(dropped),
            drop_reason: drop.map(|drop| drop.reason.clone()),
            drop_hook: drop.map(|drop| hook(drop.incoming).to_owned()),
            frames: evidence.frames.clone(),
        }
    }
}

impl TcpState {
    /// What a connection was like during such an operation.
    pub fn of(op: Op, tcp: &model::Tcp) -> Self {
        if op == Op::Connect {
            // Before a connection there is no more: no data, no window, no ACK.
            return Self {
                rto_ns: tcp.rto,
                ..Self::default()
            };
        }
        Self {
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
}

impl Ended {
    /// Of the server's process.
    pub fn of(ended: model::Ended, clock: WallClock) -> Self {
        Self {
            at: clock.time(ended.at),
            requests: ended.under_way,
        }
    }
}

impl Summary {
    /// Of a trace that is over.
    pub fn of(summary: &model::Summary, clock: WallClock) -> Self {
        Self {
            end: clock.time(summary.end),
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
}
