//! From findings to packets. Pure: the same findings make the same packets, traced or replayed.

use std::mem;

use serde_json::Value as Json;

use super::{
    annotations,
    flows::{Flows, Slice},
    proto::{TracePacket, TrackEvent},
    tracks::{DeviceTracks, Tracks},
    writer::{Interval, Writer},
};
use crate::sink::jsonl;
use tracer_format::WallClock;
use tracer_model::{
    Device, FillingBuffer, Finding, Forwarded, Hang, Incident, Nanos, Op, RequestInfo, Session,
    Stall, Stalled, Summary, Tcp,
};

/// Makes packets of findings.
#[derive(Debug, Default)]
pub struct Packets {
    clock: WallClock,
    writer: Writer,
    timeline: Option<TrackTimeline>,
}

/// What was written so far, as far as further packets refer to it.
#[derive(Debug)]
struct TrackTimeline {
    tracks: Tracks,
    flows: Flows,
    /// Devices and tracks of incidents without an end yet.
    open_incidents: Vec<(Device, u64)>,
}

impl Packets {
    /// The packets of this finding, in the order in which they are to be written.
    pub fn on(&mut self, finding: &Finding) -> serde_json::Result<Vec<TracePacket>> {
        if let Finding::Session(session) = finding {
            self.clock = WallClock::of(session);
        }
        let Some(record) = jsonl::object(finding, self.clock)? else {
            return Ok(Vec::new());
        };
        if let Finding::Session(session) = finding {
            self.begin(session, &record);
        } else if let Some(timeline) = &mut self.timeline {
            timeline.on(finding, &record, &mut self.writer);
        }
        Ok(mem::take(&mut self.writer.packets))
    }

    fn begin(&mut self, session: &Session, record: &Json) {
        self.writer.begin_trace(session, self.clock);
        let tracks = Tracks::new(session, &mut self.writer);
        let event = event("trace begins", "trace", record);
        self.writer.instant(session.began, tracks.process, event);
        self.timeline = Some(TrackTimeline {
            tracks,
            flows: Flows::default(),
            open_incidents: Vec::new(),
        });
    }
}

impl TrackTimeline {
    fn on(&mut self, finding: &Finding, record: &Json, writer: &mut Writer) {
        match finding {
            Finding::Attached(session) => self.attached(session, record, writer),
            Finding::Stalled(stalled) => self.stalled(stalled, record, writer),
            Finding::Hang(hang) => self.hang(hang, record, writer),
            Finding::Refusal(refusal) => {
                let name = format!("refusal: {}", refusal.cause.name());
                self.instant(&refusal.device, refusal.start, name, record, writer);
            }
            Finding::LostEntries(loss) => {
                let name = if loss.pending {
                    "entries not acknowledged"
                } else {
                    "entries lost"
                };
                self.instant(&loss.device, loss.at, name, record, writer);
            }
            Finding::Filling(filling) => self.filling(filling, record, writer),
            Finding::Incident(incident) => self.incident(incident, record, writer),
            Finding::Ended(ended) => self.ended(ended.at, record, writer),
            Finding::Summary(summary) => self.end(summary, record, writer),
            Finding::Forwarded(forwarded) => self.forwarded(forwarded, record, writer),
            Finding::Session(_) | Finding::Snapshot(_) | Finding::Warning(_) => {}
        }
    }

    /// Another process has tracks of its own.
    fn attached(&mut self, session: &Session, record: &Json, writer: &mut Writer) {
        self.tracks = Tracks::new(session, writer);
        self.flows = Flows::default();
        let event = event("attached", "trace", record);
        writer.instant(session.began, self.tracks.process, event);
    }

    fn instant(
        &mut self,
        device: &Device,
        at: Nanos,
        name: impl Into<String>,
        record: &Json,
        writer: &mut Writer,
    ) {
        let track = self.tracks.device(device, writer).track();
        writer.instant(at, track, event(name, "device", record));
    }

    /// A stall under way, in case the trace ends before it does.
    fn stalled(&mut self, stalled: &Stalled, record: &Json, writer: &mut Writer) {
        let name = format!("stalled: {}", stalled.op.name());
        self.instant(&stalled.device, stalled.at, name, record, writer);
        let device = self.tracks.device(&stalled.device, writer);
        device.waiting.set(stalled.at, stalled.waiting, writer);
    }

    fn filling(&mut self, filling: &FillingBuffer, record: &Json, writer: &mut Writer) {
        self.instant(&filling.device, filling.at, "filling", record, writer);
        let device = self.tracks.device(&filling.device, writer);
        device.send_queue.set(filling.at, filling.queued, writer);
        device.send_buffer.set(filling.at, filling.limit, writer);
    }

    fn incident(&mut self, incident: &Incident, record: &Json, writer: &mut Writer) {
        let device = self.tracks.device(&incident.device, writer);
        let time = Interval {
            start: incident.start,
            end: incident.end.unwrap_or(Nanos::MAX),
        };
        let track = device.incidents.place(time, writer);
        let name = format!("incident: {}", incident.cause.name());
        writer.begin(time.start, track, event(name, "device", record));
        if let Some(end) = incident.end {
            writer.end(end, track);
            // Nobody queues for a device that is not stalled.
            device.waiting.clear(end, writer);
        } else {
            let open = (incident.device.clone(), track);
            self.open_incidents.push(open);
        }
    }

    /// With the server end its open incidents and its requests.
    fn ended(&mut self, at: Nanos, record: &Json, writer: &mut Writer) {
        for (device, track) in self.open_incidents.drain(..) {
            writer.end(at, track);
            self.tracks
                .device(&device, writer)
                .waiting
                .clear(at, writer);
        }
        let event = event("server ended", "trace", record);
        writer.instant(at, self.tracks.process, event);
    }

    /// The end of the trace ends the incidents that were still open.
    fn end(&mut self, summary: &Summary, record: &Json, writer: &mut Writer) {
        for (_, track) in self.open_incidents.drain(..) {
            writer.end(summary.end, track);
        }
        let event = event("trace ends", "trace", record);
        writer.instant(summary.end, self.tracks.process, event);
    }

    fn hang(&mut self, hang: &Hang, record: &Json, writer: &mut Writer) {
        let mut record = record.clone();
        let request = record["request"].take();
        let stalls = match record["stalls"].take() {
            Json::Array(stalls) => stalls,
            _ => Vec::new(),
        };
        let flows = self.hang_on_device(hang, &request, &stalls, writer);
        let records = (&request, &record, stalls.as_slice());
        self.hang_on_connection(hang, records, &flows, writer);
    }

    /// The wait for the active node, in the slice of its request.
    fn forwarded(&mut self, forwarded: &Forwarded, record: &Json, writer: &mut Writer) {
        let mut record = record.clone();
        let fields = record["request"].take();
        let request = &forwarded.request;
        let connection = self.tracks.connection(request.client, writer);
        let time = Interval {
            start: forwarded.start,
            end: forwarded.start.saturating_add(forwarded.duration),
        };
        let of_request = || event(title(request), "request", &fields);
        let (track, end) = connection.place_hang(request, time, of_request, writer);
        writer.slice(time, track, event("forwarded", "request", &record));
        if let Some((at, track)) = end {
            writer.end(at, track);
        }
    }

    /// Slices for the stalls on the device's track, each with a flow to its slice on the request's track.
    fn hang_on_device(
        &mut self,
        hang: &Hang,
        request: &Json,
        stalls: &[Json],
        writer: &mut Writer,
    ) -> Vec<Option<u64>> {
        let device = self.tracks.device(&hang.device, writer);
        let mut flows = Vec::new();
        for (stall, fields) in hang.stalls.iter().zip(stalls) {
            // A queued request does not use the device.
            if stall.op == Op::Lock {
                flows.push(None);
                continue;
            }
            let mut fields = fields.clone();
            fields["request"] = request.clone();
            let time = interval(stall);
            let track = device.stalls.place(time, writer);
            let flow = writer.id();
            flows.push(Some(flow));
            let event = TrackEvent {
                flow_ids: vec![flow],
                ..event(stall_name(stall), "device", &fields)
            };
            writer.slice(time, track, event);
            sample_send_buffer(device, stall, writer);
            if let Some(id) = &hang.request.id {
                let slice = Slice { track, time };
                self.flows.stalled(&hang.device, id, slice, writer);
            }
        }
        flows
    }

    fn hang_on_connection(
        &mut self,
        hang: &Hang,
        (request, record, stalls): (&Json, &Json, &[Json]),
        flows: &[Option<u64>],
        writer: &mut Writer,
    ) {
        let connection = self.tracks.connection(hang.request.client, writer);
        let whole = Interval {
            start: hang.start,
            end: hang.end,
        };
        let of_request = || event(title(&hang.request), "request", request);
        let (track, end) = connection.place_hang(&hang.request, whole, of_request, writer);
        let name = format!("hang: {}", hang.cause().name());
        writer.begin(whole.start, track, event(name, "request", record));
        let mut queued = Vec::new();
        let mut free = whole;
        for ((stall, fields), flow) in hang.stalls.iter().zip(stalls).zip(flows) {
            let time = interval(stall);
            let track = if free.contains(time) {
                free.start = time.end;
                track
            } else {
                connection.place_aside(time, writer)
            };
            let event = TrackEvent {
                terminating_flow_ids: flow.iter().copied().collect(),
                ..event(stall_name(stall), "request", fields)
            };
            writer.slice(time, track, event);
            if let Some(blocker) = &stall.blocked_by {
                queued.push((blocker, Slice { track, time }));
            }
        }
        writer.end(whole.end, track);
        if let Some((at, track)) = end {
            writer.end(at, track);
        }
        for (blocker, slice) in queued {
            self.flows.queued(&hang.device, blocker, slice, writer);
        }
    }
}

/// The send buffer when a write began to wait, and when it ended; between them it is not known.
fn sample_send_buffer(device: &mut DeviceTracks, stall: &Stall, writer: &mut Writer) {
    if stall.op != Op::Write {
        return;
    }
    let time = interval(stall);
    let mut set = |at, tcp: &Option<Tcp>| {
        let Some(tcp) = tcp else { return };
        if let Some(queued) = tcp.queued {
            device.send_queue.set(at, queued.into(), writer);
        }
        if let Some(limit) = tcp.limit {
            device.send_buffer.set(at, limit.into(), writer);
        }
    };
    set(time.start, &stall.evidence.begin);
    set(time.end, &stall.evidence.end);
}

fn interval(stall: &Stall) -> Interval {
    Interval {
        start: stall.start,
        end: stall.start.saturating_add(stall.duration),
    }
}

fn stall_name(stall: &Stall) -> String {
    format!("{}: {}", stall.op.name(), stall.cause.name())
}

/// `read sys/mounts`, as far as known.
fn title(request: &RequestInfo) -> String {
    match (&request.operation, &request.path) {
        (Some(operation), Some(path)) => format!("{operation} {path}"),
        (None, Some(path)) => path.clone(),
        _ => "request".to_owned(),
    }
}

/// An event with the fields of a JSON Lines record as arguments, but for `type`, which the event's name says.
fn event(name: impl Into<String>, category: &str, fields: &Json) -> TrackEvent {
    let mut arguments = annotations::of(fields);
    arguments.retain(|argument| argument.name.as_deref() != Some("type"));
    TrackEvent {
        name: Some(name.into()),
        categories: vec![category.to_owned()],
        debug_annotations: arguments,
        ..TrackEvent::default()
    }
}

#[cfg(test)]
mod tests;
