//! From findings to spans. A request's trace is `request` (server) over `audit hang` or `audit refusal`, one
//! for each device (client), over `audit connect|write|lock` (internal). What belongs to no single request is
//! a trace of one span: `audit filling`, `audit entries lost`, `audit incident`, and the `session`.
//!
//! A span is told when it is over, so [`Finding::Stalled`] makes none.

use std::collections::VecDeque;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link, SpanKind},
        status::StatusCode,
    },
};

use super::{
    attributes::Attributes,
    describe::{about_request, device, probes, resource, snapshot},
    ids::{Origin, SpanId, TraceId, of_request_id},
};
use crate::sink::{errno, wall::WallClock};
use tracer_format::text::explain;
use tracer_model::{
    Device, DropKind, FillingBuffer, Finding, Hang, Incident, LostEntries, Nanos, Op, Outcome,
    Refusal, RequestInfo, Session, Stall, Summary,
};

/// Requests remembered as told. Several devices hold up one request, and what they did to it is told
/// at one time, so few would do.
const TOLD: usize = 256;

/// Makes spans of findings. Neither writes nor reads anything.
#[derive(Debug, Default)]
pub struct Spans {
    clock: WallClock,
    session: Option<Session>,
    origin: Origin,
    /// When the trace began, and in whose name.
    began: Option<(Nanos, Origin)>,
    told: VecDeque<TraceId>,
    /// Incidents without an end: theirs is the trace's.
    open: Vec<Incident>,
}

impl Spans {
    /// The spans of a finding, for those that have any.
    pub fn on(&mut self, finding: &Finding) -> Option<ExportTraceServiceRequest> {
        let spans = match finding {
            Finding::Session(session) | Finding::Attached(session) => {
                self.begin(session);
                return None;
            }
            Finding::Hang(hang) => self.hang(hang),
            Finding::Refusal(refusal) => self.refusal(refusal),
            Finding::LostEntries(loss) => vec![self.lost(loss)],
            Finding::Filling(filling) => vec![self.filling(filling)],
            Finding::Incident(incident) if incident.end.is_none() => {
                self.open.push(incident.clone());
                return None;
            }
            Finding::Incident(incident) => vec![self.incident(incident, None)],
            Finding::Summary(summary) => self.summary(summary),
            Finding::Stalled(_)
            | Finding::Snapshot(_)
            | Finding::Warning(_)
            | Finding::Ended(_) => return None,
        };
        Some(self.export(spans))
    }

    fn begin(&mut self, session: &Session) {
        self.clock = WallClock::of(session);
        self.origin = Origin::of(session);
        self.began
            .get_or_insert_with(|| (session.began, self.origin.clone()));
        self.session = Some(session.clone());
    }

    fn export(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let version = self.session.as_ref().map(|session| session.version.clone());
        let scope = InstrumentationScope {
            name: "vault-tracer".to_owned(),
            version: version.unwrap_or_default(),
            ..InstrumentationScope::default()
        };
        let resource = Resource {
            attributes: self.session.as_ref().map(resource).unwrap_or_default(),
            ..Resource::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
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
        let mut spans: Vec<_> = self.request(trace, &hang.request).into_iter().collect();
        let which = format!("{}/{}", hang.device, hang.start);
        let own = self.origin.span(trace, "hang", &which);
        let cause = hang.cause().name();
        let id = hang.id.map(|id| format!("hang-{id}"));
        spans.push(Span {
            parent_span_id: self.origin.request_span(trace).0.to_vec(),
            kind: SpanKind::Client.into(),
            attributes: device(&hang.device)
                .text("error.type", cause)
                .text("vault.cause", cause)
                .maybe_text("vault.hang.id", id)
                .maybe_text("vault.request.id", hang.request.id.as_deref())
                .number("vault.blocked_ns", hang.duration)
                .into_vec(),
            status: Some(failed(explain::hang(hang))),
            ..self.span(trace, own, "audit hang", (hang.start, hang.end))
        });
        for (number, stall) in hang.stalls.iter().enumerate() {
            let which = format!("{which}/{number}");
            let id = self.origin.span(trace, "stall", &which);
            spans.push(Span {
                parent_span_id: own.0.to_vec(),
                ..self.stall(trace, id, stall, &hang.device)
            });
        }
        spans
    }

    /// The span of the request as a whole, once.
    fn request(&mut self, trace: TraceId, request: &RequestInfo) -> Option<Span> {
        if self.told.contains(&trace) {
            return None;
        }
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(trace);
        // Semantic conventions: of a server's answers only 5xx are errors.
        let is_error = request.status.is_some_and(|status| status >= 500);
        let status = if is_error {
            failed("")
        } else {
            Status::default()
        };
        let error = request.status.filter(|_| is_error);
        let end = request.start + request.duration;
        let id = self.origin.request_span(trace);
        Some(Span {
            kind: SpanKind::Server.into(),
            attributes: about_request(request)
                .maybe_text("error.type", error.map(|status| status.to_string()))
                .into_vec(),
            status: Some(status),
            ..self.span(trace, id, "request", (request.start, end))
        })
    }

    fn stall(&self, trace: TraceId, id: SpanId, stall: &Stall, of: &Device) -> Span {
        let name = format!("audit {}", stall.op.name());
        let cause = stall.cause.name();
        let is_failure = stall.outcome.is_some_and(Outcome::is_failure);
        let uncertainty = Some(stall.uncertainty).filter(|uncertainty| *uncertainty > 0);
        let end = stall.start + stall.duration;
        let blocker = stall.blocked_by.iter();
        let attributes = device(of)
            .maybe_text("error.type", is_failure.then_some(cause))
            .text("vault.cause", cause)
            .text("vault.audit.operation", stall.op.name())
            .text("vault.audit.phase", stall.phase.name())
            .maybe_text("vault.outcome", stall.outcome.map(Outcome::name))
            .maybe_text("vault.errno", stall.errno.map(errno::name))
            .maybe_number("vault.uncertainty_ns", uncertainty)
            .maybe_text("vault.blocked_by", stall.blocked_by.as_deref())
            .flag("vault.inferred", stall.inferred)
            .and(Self::evidence(stall));
        Span {
            kind: SpanKind::Internal.into(),
            attributes: attributes.into_vec(),
            events: self.events(stall, end),
            links: blocker.map(|id| self.link(id)).collect(),
            status: Some(if is_failure {
                failed(cause)
            } else {
                Status::default()
            }),
            ..self.span(trace, id, &name, (stall.start, end))
        }
    }

    fn evidence(stall: &Stall) -> Attributes {
        let evidence = &stall.evidence;
        // How long, and not since when: a span's attributes have no times.
        let silent = evidence
            .silent_since
            .map(|since| stall.start.saturating_sub(since));
        let mut attributes = Attributes::default();
        if let Some(tcp) = &evidence.begin {
            attributes = attributes.and(snapshot("begin", stall.op, tcp));
        }
        if let Some(tcp) = &evidence.end {
            attributes = attributes.and(snapshot("end", stall.op, tcp));
        }
        attributes
            .maybe_number("vault.tcp.silent_before_ns", silent)
            .texts("vault.frames", &evidence.frames)
    }

    /// What happened to the packets. A finding counts them and keeps no times of single ones, so each kind
    /// is one event at the end of the counting.
    fn events(&self, stall: &Stall, end: Nanos) -> Vec<Event> {
        let evidence = &stall.evidence;
        let (name, count) = match stall.op {
            Op::Connect => ("tcp.syn_retransmit", evidence.syn_retransmits),
            Op::Write => ("tcp.retransmit", evidence.retransmits),
            Op::Lock | Op::Resolve => ("", 0),
        };
        let mut events = Vec::new();
        if count > 0 {
            let count = Attributes::default().number("vault.count", count.into());
            events.push(self.event(end, name, count));
        }
        let telling = evidence.drops.iter();
        for (drop, count) in telling.filter(|(drop, _)| drop.kind() != DropKind::Other) {
            let hook = if drop.incoming { "input" } else { "output" };
            let about = Attributes::default()
                .number("vault.count", (*count).into())
                .text("vault.drop.reason", &*drop.reason)
                .text("vault.drop.hook", hook);
            events.push(self.event(end, "packet.drop", about));
        }
        if let Some(probes) = probes(evidence) {
            let count = Attributes::default().number("vault.count", probes.into());
            events.push(self.event(end, "tcp.window_probe", count));
        }
        if evidence.reset {
            events.push(self.event(end, "tcp.reset", Attributes::default()));
        }
        events
    }

    fn refusal(&mut self, refusal: &Refusal) -> Vec<Span> {
        let trace = self.origin.request(&refusal.request);
        let mut spans: Vec<_> = self.request(trace, &refusal.request).into_iter().collect();
        let which = format!("{}/{}", refusal.device, refusal.start);
        let id = self.origin.span(trace, "refusal", &which);
        let cause = refusal.cause.name();
        let end = refusal.start + refusal.duration;
        spans.push(Span {
            parent_span_id: self.origin.request_span(trace).0.to_vec(),
            kind: SpanKind::Client.into(),
            attributes: device(&refusal.device)
                .text("error.type", cause)
                .text("vault.cause", cause)
                .maybe_text("vault.errno", refusal.errno.map(errno::name))
                .maybe_text("vault.request.id", refusal.request.id.as_deref())
                .into_vec(),
            status: Some(failed(explain::refusal(refusal))),
            ..self.span(trace, id, "audit refusal", (refusal.start, end))
        });
        spans
    }

    /// From the server's closing of the connection to the kernel's giving it up.
    fn lost(&self, loss: &LostEntries) -> Span {
        let attributes = device(&loss.device)
            .number("vault.lost.bytes", loss.bytes)
            .number("vault.lost.entries", loss.entries)
            .texts("vault.lost.requests", &loss.requests)
            .truth("vault.lost.complete", loss.complete)
            .flag("vault.lost.pending", loss.pending);
        Span {
            attributes: attributes.into_vec(),
            links: loss.requests.iter().map(|id| self.link(id)).collect(),
            status: Some(failed(explain::loss(loss))),
            ..self.alone("audit entries lost", &loss.device, (loss.closed, loss.at))
        }
    }

    /// Not a failure yet.
    fn filling(&self, filling: &FillingBuffer) -> Span {
        let attributes = device(&filling.device)
            .number("vault.tcp.send_queue_bytes", filling.queued)
            .number("vault.tcp.send_buffer_bytes", filling.limit)
            .number("vault.bytes_per_second", filling.rate)
            .maybe_number("vault.full_in_ns", filling.full_in())
            .text("vault.explanation", explain::filling(filling));
        Span {
            attributes: attributes.into_vec(),
            ..self.alone(
                "audit filling",
                &filling.device,
                (filling.since, filling.at),
            )
        }
    }

    /// One without an end is still open at `now`.
    fn incident(&self, incident: &Incident, now: Option<Nanos>) -> Span {
        let cause = incident.cause.name();
        let end = incident.end.or(now).unwrap_or(incident.start);
        let attributes = device(&incident.device)
            .text("error.type", cause)
            .text("vault.cause", cause)
            .number("vault.incident.hangs", incident.hangs)
            .number("vault.incident.requests", incident.requests)
            .number("vault.blocked_ns", incident.blocked)
            .number("vault.incident.longest_ns", incident.longest)
            .maybe_number("vault.lost.bytes", incident.lost.map(|lost| lost.bytes))
            .maybe_number("vault.lost.entries", incident.lost.map(|lost| lost.entries))
            .flag("vault.incident.open", incident.end.is_none());
        Span {
            attributes: attributes.into_vec(),
            status: Some(failed(cause)),
            ..self.alone("audit incident", &incident.device, (incident.start, end))
        }
    }

    fn summary(&mut self, summary: &Summary) -> Vec<Span> {
        let open = std::mem::take(&mut self.open);
        let open = open.iter();
        let mut spans: Vec<_> = open
            .map(|incident| self.incident(incident, Some(summary.end)))
            .collect();
        let (began, origin) = self
            .began
            .clone()
            .unwrap_or_else(|| (summary.end, self.origin.clone()));
        let trace = origin.trace("session", "");
        let id = origin.span(trace, "session", "");
        let attributes = Attributes::default()
            .number("vault.requests", summary.requests)
            .flag("vault.requests_is_lower_bound", summary.requests_at_least)
            .number("vault.audit_writes", summary.audit_writes)
            .number("vault.hangs", summary.hangs)
            .number("vault.refusals", summary.refusals)
            .number("vault.incidents", summary.incidents)
            .number("vault.events", summary.events)
            .number("vault.events_lost", summary.events_lost);
        spans.push(Span {
            attributes: attributes.into_vec(),
            ..self.span(trace, id, "session", (began, summary.end))
        });
        spans
    }

    /// A span that is a trace of its own.
    fn alone(&self, name: &str, of: &Device, times: (Nanos, Nanos)) -> Span {
        // With the end: two warnings of one silence begin at the same time.
        let which = format!("{of}/{}/{}", times.0, times.1);
        let trace = self.origin.trace(name, &which);
        let id = self.origin.span(trace, name, &which);
        self.span(trace, id, name, times)
    }

    fn span(&self, trace: TraceId, id: SpanId, name: &str, (start, end): (Nanos, Nanos)) -> Span {
        Span {
            trace_id: trace.0.to_vec(),
            span_id: id.0.to_vec(),
            name: name.to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.unix(start.min(end)),
            end_time_unix_nano: self.unix(end),
            // Unset, rather than the `null` that the JSON would have without.
            status: Some(Status::default()),
            ..Span::default()
        }
    }

    fn event(&self, at: Nanos, name: &str, attributes: Attributes) -> Event {
        Event {
            time_unix_nano: self.unix(at),
            name: name.to_owned(),
            attributes: attributes.into_vec(),
            ..Event::default()
        }
    }

    /// To another request on this server.
    fn link(&self, request: &str) -> Link {
        let trace = of_request_id(request);
        Link {
            trace_id: trace.0.to_vec(),
            span_id: self.origin.request_span(trace).0.to_vec(),
            attributes: Attributes::default()
                .text("vault.request.id", request)
                .into_vec(),
            ..Link::default()
        }
    }

    fn unix(&self, at: Nanos) -> u64 {
        u64::try_from(self.clock.time(at).as_nanosecond()).unwrap_or_default()
    }
}

fn failed(message: impl Into<String>) -> Status {
    Status {
        code: StatusCode::Error.into(),
        message: message.into(),
    }
}
