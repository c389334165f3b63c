//! From findings to packets. Does no I/O and reads no clock: the same findings make the same packets,
//! traced or replayed.

use serde_json::Value as Json;

use super::{
    annotations,
    batch::{Batch, Says, Span},
    flows::{Flows, Slice},
    proto::TracePacket,
    tracks::{DeviceTracks, Ids, Tracks},
};
use crate::sink::{jsonl, wall::WallClock};
use tracer_model::{
    Device, FillingBuffer, Finding, Hang, Incident, Nanos, Op, RequestInfo, Session, Stall,
    Stalled, Summary, Tcp,
};

/// What has been told so far, as far as further packets refer to it.
#[derive(Debug, Default)]
pub struct Packets {
    clock: WallClock,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    ids: Ids,
    tracks: Tracks,
    flows: Flows,
    /// Tracks of incidents that had no end yet.
    open: Vec<u64>,
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
        let mut batch = Batch::default();
        match finding {
            Finding::Session(session) => self.begin(session, &record, &mut batch),
            Finding::Attached(session) => {
                if let Some(told) = &mut self.told {
                    told.attached(session, &record, &mut batch);
                }
            }
            _ => {
                if let Some(told) = &mut self.told {
                    told.on(finding, &record, &mut batch);
                }
            }
        }
        Ok(batch.0)
    }

    fn begin(&mut self, session: &Session, record: &Json, batch: &mut Batch) {
        batch.clocks(session, self.clock);
        let began = self.clock.time(session.began).as_nanosecond();
        let mut ids = Ids::from(u64::try_from(began).unwrap_or_default());
        let tracks = Tracks::of(session, &mut ids, batch);
        let says = says("trace begins", "trace", record);
        batch.instant(session.began, tracks.process, says);
        self.told = Some(Told {
            ids,
            tracks,
            flows: Flows::default(),
            open: Vec::new(),
        });
    }
}

impl Told {
    /// Another process has tracks of its own.
    fn attached(&mut self, session: &Session, record: &Json, batch: &mut Batch) {
        self.tracks = Tracks::of(session, &mut self.ids, batch);
        self.flows = Flows::default();
        let says = says("attached", "trace", record);
        batch.instant(session.began, self.tracks.process, says);
    }

    fn on(&mut self, finding: &Finding, record: &Json, batch: &mut Batch) {
        match finding {
            Finding::Stalled(stalled) => self.stalled(stalled, record, batch),
            Finding::Hang(hang) => self.hang(hang, record, batch),
            Finding::Refusal(refusal) => {
                let name = format!("refusal: {}", refusal.cause.name());
                self.instant((&refusal.device, refusal.start), name, record, batch);
            }
            Finding::LostEntries(loss) => {
                let name = if loss.pending {
                    "entries not acknowledged"
                } else {
                    "entries lost"
                };
                self.instant((&loss.device, loss.at), name.to_owned(), record, batch);
            }
            Finding::Filling(filling) => self.filling(filling, record, batch),
            Finding::Incident(incident) => self.incident(incident, record, batch),
            Finding::Summary(summary) => self.end(summary, record, batch),
            Finding::Session(_)
            | Finding::Attached(_)
            | Finding::Snapshot(_)
            | Finding::Warning(_)
            | Finding::Ended(_) => {}
        }
    }

    fn instant(
        &mut self,
        (device, at): (&Device, Nanos),
        name: String,
        record: &Json,
        batch: &mut Batch,
    ) {
        let track = self.tracks.device(device, &mut self.ids, batch).own();
        batch.instant(at, track, says(name, "device", record));
    }

    /// What is under way, in case the trace ends before it does.
    fn stalled(&mut self, stalled: &Stalled, record: &Json, batch: &mut Batch) {
        let name = format!("stalled: {}", stalled.op.name());
        self.instant((&stalled.device, stalled.at), name, record, batch);
        let device = self.tracks.device(&stalled.device, &mut self.ids, batch);
        device
            .waiting
            .set(stalled.at, stalled.waiting, &mut self.ids, batch);
    }

    fn filling(&mut self, filling: &FillingBuffer, record: &Json, batch: &mut Batch) {
        let name = "filling".to_owned();
        self.instant((&filling.device, filling.at), name, record, batch);
        let device = self.tracks.device(&filling.device, &mut self.ids, batch);
        device
            .queue
            .set(filling.at, filling.queued, &mut self.ids, batch);
        device
            .buffer
            .set(filling.at, filling.limit, &mut self.ids, batch);
    }

    fn incident(&mut self, incident: &Incident, record: &Json, batch: &mut Batch) {
        let device = self.tracks.device(&incident.device, &mut self.ids, batch);
        let span = Span {
            start: incident.start,
            end: incident.end.unwrap_or(Nanos::MAX),
        };
        let track = device.incidents.place(span, &mut self.ids, batch);
        let name = format!("incident: {}", incident.cause.name());
        batch.begin(span.start, track, says(name, "device", record));
        match incident.end {
            Some(end) => {
                batch.end(end, track);
                // Nobody queues for a device that is not stalled.
                device.waiting.clear(end, batch);
            }
            None => self.open.push(track),
        }
    }

    /// The trace is over, and with it what was still open.
    fn end(&mut self, summary: &Summary, record: &Json, batch: &mut Batch) {
        for track in self.open.drain(..) {
            batch.end(summary.end, track);
        }
        let says = says("trace ends", "trace", record);
        batch.instant(summary.end, self.tracks.process, says);
    }

    fn hang(&mut self, hang: &Hang, record: &Json, batch: &mut Batch) {
        let mut record = record.clone();
        let request = record["request"].take();
        let stalls = match record["stalls"].take() {
            Json::Array(stalls) => stalls,
            _ => Vec::new(),
        };
        let arrows = self.on_device(hang, (&request, &stalls), batch);
        let fields = (&request, &record, stalls.as_slice());
        self.on_connection(hang, fields, &arrows, batch);
    }

    /// What the device was waited for, and an arrow from each to its twin on the request's track.
    fn on_device(
        &mut self,
        hang: &Hang,
        (request, stalls): (&Json, &[Json]),
        batch: &mut Batch,
    ) -> Vec<Option<u64>> {
        let device = self.tracks.device(&hang.device, &mut self.ids, batch);
        let mut arrows = Vec::new();
        for (stall, fields) in hang.stalls.iter().zip(stalls) {
            // Who queues does not use the device.
            if stall.op == Op::Lock {
                arrows.push(None);
                continue;
            }
            let mut fields = fields.clone();
            fields["request"] = request.clone();
            let span = span(stall);
            let track = device.stalls.place(span, &mut self.ids, batch);
            let arrow = self.ids.next();
            arrows.push(Some(arrow));
            let says = Says {
                leads: Some(arrow),
                ..says(name(stall), "device", &fields)
            };
            batch.slice(span, track, says);
            sample(device, stall, &mut self.ids, batch);
            if let Some(id) = &hang.request.id {
                let slice = Slice { track, span };
                self.flows
                    .stalled((&hang.device, id), slice, &mut self.ids, batch);
            }
        }
        arrows
    }

    fn on_connection(
        &mut self,
        hang: &Hang,
        (request, record, stalls): (&Json, &Json, &[Json]),
        arrows: &[Option<u64>],
        batch: &mut Batch,
    ) {
        let ids = &mut self.ids;
        let connection = self.tracks.connection(hang.request.client, ids, batch);
        let whole = Span {
            start: hang.start,
            end: hang.end,
        };
        let of_request = || says(title(&hang.request), "request", request);
        let (track, end) = connection.hang((&hang.request, whole), of_request, ids, batch);
        let title = format!("hang: {}", hang.cause().name());
        batch.begin(whole.start, track, says(title, "request", record));
        let mut queued = Vec::new();
        let mut free = whole;
        for ((stall, fields), arrow) in hang.stalls.iter().zip(stalls).zip(arrows) {
            let span = span(stall);
            let track = if free.contains(span) {
                free.start = span.end;
                track
            } else {
                connection.beside(span, ids, batch)
            };
            let says = Says {
                ends: *arrow,
                ..says(name(stall), "request", fields)
            };
            batch.slice(span, track, says);
            if let Some(behind) = &stall.blocked_by {
                queued.push((behind, Slice { track, span }));
            }
        }
        batch.end(whole.end, track);
        if let Some((at, track)) = end {
            batch.end(at, track);
        }
        for (behind, slice) in queued {
            self.flows
                .queued((&hang.device, behind), slice, &mut self.ids, batch);
        }
    }
}

/// How full the send buffer was when a write began to wait, and when it ended. Of a dial there is
/// nothing to say, and what is between is not known.
fn sample(device: &mut DeviceTracks, stall: &Stall, ids: &mut Ids, batch: &mut Batch) {
    if stall.op != Op::Write {
        return;
    }
    let span = span(stall);
    let mut set = |at, tcp: &Option<Tcp>| {
        let Some(tcp) = tcp else { return };
        if let Some(queued) = tcp.queued {
            device.queue.set(at, queued.into(), ids, batch);
        }
        if let Some(limit) = tcp.limit {
            device.buffer.set(at, limit.into(), ids, batch);
        }
    };
    set(span.start, &stall.evidence.begin);
    set(span.end, &stall.evidence.end);
}

fn span(stall: &Stall) -> Span {
    Span {
        start: stall.start,
        end: stall.start.saturating_add(stall.duration),
    }
}

fn name(stall: &Stall) -> String {
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

fn says(name: impl Into<String>, category: &'static str, fields: &Json) -> Says {
    let mut args = annotations::of(fields);
    // Which of the records of the JSON trace it is, its name says.
    args.retain(|arg| arg.name.as_deref() != Some("type"));
    Says {
        name: name.into(),
        category,
        args,
        ..Says::default()
    }
}
