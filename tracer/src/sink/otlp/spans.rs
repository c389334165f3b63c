//! From findings to spans. The trace of a request: `request` (server) over `audit hang` or `audit refusal` for each
//! device (client) over `audit connect|write|lock` (internal), or over `forwarded` (client). Findings that belong to no single request are traces of
//! one span: `audit filling`, `audit entries lost`, `audit incident`, `server ended`, `session`.
//!
//! Spans are made when they are over, so [`Finding::Stalled`] makes none.

use std::{fmt, mem};

use super::{
    attributes::Attributes,
    describe::{self, device},
    ids::{Origin, SpanId, TraceId, of_request_id},
    messages::{
        Event, ExportTraceServiceRequest, InstrumentationScope, Link, ResourceSpans, ScopeSpans,
        Span, SpanKind, Status, failed,
    },
};
use crate::bounded::BoundedMap;
use tracer_format::{WallClock, errno_name, hang_id, text::explain};
use tracer_model::{
    DropKind, Ended, FillingBuffer, Finding, Forwarded, Hang, Incident, LostEntries, Nanos, Op,
    Outcome, Refusal, RequestInfo, Session, Stall, Summary,
};

/// Requests that are remembered. The hangs of one request come together, so few are needed.
const MAX_REQUESTS: usize = 256;

/// Makes spans of findings. Pure.
#[derive(Debug, Default)]
pub struct Spans {
    clock: WallClock,
    session: Option<Session>,
    origin: Origin,
    /// Start and origin of the first session.
    first: Option<(Nanos, Origin)>,
    /// Requests whose span is made.
    requests: BoundedMap<TraceId, (), MAX_REQUESTS>,
    /// Incidents that last until the server or the trace ends.
    open_incidents: Vec<Incident>,
}

impl Spans {
    /// The spans of a finding, if it has any.
    pub fn on(&mut self, finding: &Finding) -> Option<ExportTraceServiceRequest> {
        let spans = match finding {
            Finding::Session(session) | Finding::Attached(session) => {
                self.begin(session);
                return None;
            }
            Finding::Hang(hang) => self.hang(hang),
            // Counted in their incident.
            Finding::Refusal(refusal) if refusal.before > 0 => return None,
            Finding::Refusal(refusal) => self.refusal(refusal),
            Finding::Forwarded(forwarded) => self.forwarded(forwarded),
            Finding::LostEntries(loss) => vec![self.lost(loss)],
            Finding::Filling(filling) => vec![self.filling(filling)],
            Finding::Incident(incident) => {
                let Some(end) = incident.end else {
                    self.open_incidents.push(incident.clone());
                    return None;
                };
                vec![self.incident(incident, end)]
            }
            Finding::Ended(ended) => self.ended(*ended),
            Finding::Summary(summary) => self.summary(summary),
            Finding::Stalled(_) | Finding::Snapshot(_) | Finding::Warning(_) => return None,
        };
        Some(self.export(spans))
    }

    fn begin(&mut self, session: &Session) {
        self.clock = WallClock::of(session);
        self.origin = Origin::of(session);
        self.first
            .get_or_insert_with(|| (session.began, self.origin.clone()));
        self.session = Some(session.clone());
    }

    fn export(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let session = self.session.as_ref();
        let scope = InstrumentationScope {
            name: "vault-tracer".to_owned(),
            version: session.map_or(String::new(), |session| session.version.clone()),
            ..InstrumentationScope::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(session.map(describe::resource).unwrap_or_default()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    fn hang(&mut self, hang: &Hang) -> Vec<Span> {
        let trace = self.origin.request(&hang.request);
        let mut spans = self.request(trace, &hang.request);
        let key = format!("{}/{}", hang.device, hang.start);
        let id = self.origin.span(trace, "hang", &key);
        let cause = hang.cause().name();
        let attributes = device(&hang.device)
            .with("error.type", cause)
            .with("vault.cause", cause)
            .with("vault.hang.id", hang.id.map(hang_id))
            .with("vault.request.id", hang.request.id.as_deref())
            .with("vault.blocked_ns", hang.duration);
        spans.push(Span {
            parent_span_id: self.origin.request_span(trace).0.to_vec(),
            kind: SpanKind::Client.into(),
            status: Some(failed(explain::hang(hang))),
            ..self.span(trace, id, "audit hang", (hang.start, hang.end), attributes)
        });
        for (number, stall) in hang.stalls.iter().enumerate() {
            let key = format!("{key}/{number}");
            let stall_id = self.origin.span(trace, "stall", &key);
            let device = device(&hang.device);
            spans.push(Span {
                parent_span_id: id.0.to_vec(),
                ..self.stall(trace, stall_id, stall, device)
            });
        }
        spans
    }

    /// The span of the request as a whole, unless it was made before.
    fn request(&mut self, trace: TraceId, request: &RequestInfo) -> Vec<Span> {
        if !self.requests.insert(&trace) {
            return Vec::new();
        }
        // By the semantic conventions only 5xx answers of a server are errors.
        let error = request.status.filter(|status| *status >= 500);
        let attributes =
            describe::request(request).with("error.type", error.map(|status| status.to_string()));
        let times = (request.start, request.start + request.duration);
        let id = self.origin.request_span(trace);
        vec![Span {
            kind: SpanKind::Server.into(),
            status: Some(error.map_or_else(Status::default, |_| failed(""))),
            ..self.span(trace, id, "request", times, attributes)
        }]
    }

    fn stall(&self, trace: TraceId, id: SpanId, stall: &Stall, device: Attributes) -> Span {
        let name = format!("audit {}", stall.op.name());
        let cause = stall.cause.name();
        let is_failure = stall.outcome.is_some_and(Outcome::is_failure);
        let uncertainty = Some(stall.uncertainty).filter(|uncertainty| *uncertainty > 0);
        let end = stall.start + stall.duration;
        let blocker = stall.blocked_by.iter();
        let attributes = device
            .with("error.type", is_failure.then_some(cause))
            .with("vault.cause", cause)
            .with("vault.audit.operation", stall.op.name())
            .with("vault.audit.phase", stall.phase.name())
            .with("vault.outcome", stall.outcome.map(Outcome::name))
            .with("vault.errno", stall.errno.map(errno_name))
            .with("vault.uncertainty_ns", uncertainty)
            .with("vault.blocked_by", stall.blocked_by.as_deref())
            .flag("vault.inferred", stall.inferred)
            .and(describe::evidence(stall));
        let status = if is_failure {
            failed(cause)
        } else {
            Status::default()
        };
        Span {
            events: self.events(stall, end),
            links: blocker.map(|id| self.link(id)).collect(),
            status: Some(status),
            ..self.span(trace, id, &name, (stall.start, end), attributes)
        }
    }

    /// Packets are only counted, without their times, so each kind is one event at the end of the stall.
    fn events(&self, stall: &Stall, end: Nanos) -> Vec<Event> {
        let evidence = &stall.evidence;
        let mut events = Vec::new();
        let mut add = |name: &str, attributes: Attributes| {
            events.push(Event {
                time_unix_nano: self.unix(end),
                name: name.to_owned(),
                attributes: attributes.0,
                ..Event::default()
            });
        };
        let counted = |count: u32| Attributes::default().with("vault.count", count);
        match stall.op {
            Op::Connect if evidence.syn_retransmits > 0 => {
                add("tcp.syn_retransmit", counted(evidence.syn_retransmits));
            }
            Op::Write if evidence.retransmits > 0 => {
                add("tcp.retransmit", counted(evidence.retransmits));
            }
            _ => {}
        }
        let drops = evidence.drops.iter();
        for (drop, count) in drops.filter(|(drop, _)| drop.kind() != DropKind::Other) {
            let hook = if drop.incoming { "input" } else { "output" };
            let attributes = counted(*count)
                .with("vault.drop.reason", drop.reason.as_str())
                .with("vault.drop.hook", hook);
            add("packet.drop", attributes);
        }
        if let Some(probes) = describe::window_probes(evidence) {
            add("tcp.window_probe", counted(probes));
        }
        if evidence.reset {
            add("tcp.reset", Attributes::default());
        }
        events
    }

    fn refusal(&mut self, refusal: &Refusal) -> Vec<Span> {
        let trace = self.origin.request(&refusal.request);
        let mut spans = self.request(trace, &refusal.request);
        let key = format!("{}/{}", refusal.device, refusal.start);
        let id = self.origin.span(trace, "refusal", &key);
        let cause = refusal.cause.name();
        let times = (refusal.start, refusal.start + refusal.duration);
        let attributes = device(&refusal.device)
            .with("error.type", cause)
            .with("vault.cause", cause)
            .with("vault.errno", refusal.errno.map(errno_name))
            .with("vault.request.id", refusal.request.id.as_deref());
        spans.push(Span {
            parent_span_id: self.origin.request_span(trace).0.to_vec(),
            kind: SpanKind::Client.into(),
            status: Some(failed(explain::refusal(refusal))),
            ..self.span(trace, id, "audit refusal", times, attributes)
        });
        spans
    }

    /// The wait for the active node, which has the spans of what it waited for there. No error of this node.
    fn forwarded(&mut self, forwarded: &Forwarded) -> Vec<Span> {
        let trace = self.origin.request(&forwarded.request);
        let mut spans = self.request(trace, &forwarded.request);
        let id = (self.origin).span(trace, "forwarded", &forwarded.start.to_string());
        let uncertainty = Some(forwarded.uncertainty).filter(|uncertainty| *uncertainty > 0);
        let to = forwarded.to.as_deref().map(describe::peer);
        let attributes = to
            .unwrap_or_default()
            .with("vault.request.id", forwarded.request.id.as_deref())
            .with("vault.uncertainty_ns", uncertainty)
            .with("vault.explanation", explain::forwarded(forwarded));
        let times = (forwarded.start, forwarded.start + forwarded.duration);
        spans.push(Span {
            parent_span_id: self.origin.request_span(trace).0.to_vec(),
            kind: SpanKind::Client.into(),
            ..self.span(trace, id, "forwarded", times, attributes)
        });
        spans
    }

    /// From the server's closing of the connection until the kernel gave it up.
    fn lost(&self, loss: &LostEntries) -> Span {
        let attributes = device(&loss.device)
            .with("vault.lost.bytes", loss.bytes)
            .with("vault.lost.entries", loss.entries)
            .with("vault.lost.requests", &loss.requests)
            .with("vault.lost.complete", loss.complete)
            .flag("vault.lost.pending", loss.pending);
        let times = (loss.closed, loss.at);
        Span {
            links: loss.requests.iter().map(|id| self.link(id)).collect(),
            status: Some(failed(explain::loss(loss))),
            ..self.root("audit entries lost", &loss.device, times, attributes)
        }
    }

    /// Not an error yet.
    fn filling(&self, filling: &FillingBuffer) -> Span {
        let attributes = device(&filling.device)
            .with("vault.tcp.send_queue_bytes", filling.queued)
            .with("vault.tcp.send_buffer_bytes", filling.limit)
            .with("vault.bytes_per_second", filling.rate)
            .with("vault.full_in_ns", filling.full_in())
            .with("vault.explanation", explain::filling(filling));
        let times = (filling.since, filling.at);
        self.root("audit filling", &filling.device, times, attributes)
    }

    /// `end`: where it has none, that of the server or the trace.
    fn incident(&self, incident: &Incident, end: Nanos) -> Span {
        let cause = incident.cause.name();
        let attributes = device(&incident.device)
            .with("error.type", cause)
            .with("vault.cause", cause)
            .with("vault.incident.hangs", incident.hangs)
            .with("vault.incident.requests", incident.requests)
            .with("vault.blocked_ns", incident.blocked)
            .with("vault.incident.longest_ns", incident.longest)
            .with("vault.lost.bytes", incident.lost.map(|lost| lost.bytes))
            .with("vault.lost.entries", incident.lost.map(|lost| lost.entries))
            .flag("vault.incident.open", incident.end.is_none());
        let times = (incident.start, end);
        Span {
            status: Some(failed(cause)),
            ..self.root("audit incident", &incident.device, times, attributes)
        }
    }

    fn end_incidents(&mut self, end: Nanos) -> Vec<Span> {
        let open = mem::take(&mut self.open_incidents);
        let spans = open.iter().map(|incident| self.incident(incident, end));
        spans.collect()
    }

    fn ended(&mut self, ended: Ended) -> Vec<Span> {
        let mut spans = self.end_incidents(ended.at);
        let attributes = Attributes::default().with("vault.requests_under_way", ended.under_way);
        spans.push(self.root("server ended", "", (ended.at, ended.at), attributes));
        spans
    }

    fn summary(&mut self, summary: &Summary) -> Vec<Span> {
        let mut spans = self.end_incidents(summary.end);
        let attributes = Attributes::default()
            .with("vault.requests", summary.requests)
            .flag("vault.requests_is_lower_bound", summary.requests_at_least)
            .with("vault.audit_writes", summary.audit_writes)
            .with("vault.hangs", summary.hangs)
            .with("vault.refusals", summary.refusals)
            .with("vault.incidents", summary.incidents)
            .with("vault.events", summary.events)
            .with("vault.events_lost", summary.events_lost);
        let first = self.first.clone();
        let (began, origin) = first.unwrap_or_else(|| (summary.end, self.origin.clone()));
        let trace = origin.trace("session", "");
        let id = origin.span(trace, "session", "");
        spans.push(self.span(trace, id, "session", (began, summary.end), attributes));
        spans
    }

    /// A span that is a trace of its own.
    fn root(
        &self,
        name: &str,
        of: impl fmt::Display,
        times: (Nanos, Nanos),
        attributes: Attributes,
    ) -> Span {
        // With the end: two warnings about one silence begin at the same time.
        let key = format!("{of}/{}/{}", times.0, times.1);
        let trace = self.origin.trace(name, &key);
        let id = self.origin.span(trace, name, &key);
        self.span(trace, id, name, times, attributes)
    }

    fn span(
        &self,
        trace: TraceId,
        id: SpanId,
        name: &str,
        (start, end): (Nanos, Nanos),
        attributes: Attributes,
    ) -> Span {
        Span {
            trace_id: trace.0.to_vec(),
            span_id: id.0.to_vec(),
            name: name.to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.unix(start.min(end)),
            end_time_unix_nano: self.unix(end),
            attributes: attributes.0,
            // An absent status would be `null` in JSON.
            status: Some(Status::default()),
            ..Span::default()
        }
    }

    /// To another request on this server.
    fn link(&self, request: &str) -> Link {
        let trace = of_request_id(request);
        Link {
            trace_id: trace.0.to_vec(),
            span_id: self.origin.request_span(trace).0.to_vec(),
            attributes: Attributes::default().with("vault.request.id", request).0,
            ..Link::default()
        }
    }

    fn unix(&self, at: Nanos) -> u64 {
        u64::try_from(self.clock.time(at).as_nanosecond()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
