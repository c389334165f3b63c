//! The packets of one finding.

use super::proto::{
    BuiltinClock, Clock, ClockSnapshot, Data, DebugAnnotation, EventType, STATE_CLEARED,
    TracePacket, TrackDescriptor, TrackEvent,
};
use crate::sink::wall::WallClock;
use tracer_model::{Nanos, Session};

/// Says whose packets these are. Perfetto's own service counts from 1: traces of both can be put
/// behind one another.
const SEQUENCE: u32 = 0x7674_7263;

/// When a slice begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Nanos,
    pub(super) end: Nanos,
}

impl Span {
    /// Whether a slice of this time, written after one of the other time, would get in its way on
    /// one track. Readers sort by time only, and leave what is of one time in the order in which it
    /// was written: so it may begin when the other ends, but not end when the other begins.
    pub(super) fn conflicts(self, earlier: Self) -> bool {
        !(self.start >= earlier.end || self.end < earlier.start)
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// What an event says of itself.
#[derive(Debug, Default)]
pub(super) struct Says {
    pub(super) name: String,
    pub(super) category: &'static str,
    pub(super) args: Vec<DebugAnnotation>,
    /// An arrow that leads on from here.
    pub(super) leads: Option<u64>,
    /// An arrow that ends here.
    pub(super) ends: Option<u64>,
}

/// Packets in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Batch(pub(super) Vec<TracePacket>);

impl Batch {
    /// First of a trace: which clock its times are of, and how that goes with the wall's.
    pub(super) fn clocks(&mut self, session: &Session, wall: WallClock) {
        let reading = |clock: BuiltinClock, timestamp| Clock {
            clock_id: Some(clock.into()),
            timestamp: Some(timestamp),
        };
        let realtime = wall.time(session.began).as_nanosecond();
        let snapshot = ClockSnapshot {
            clocks: vec![
                reading(BuiltinClock::Monotonic, session.began),
                reading(
                    BuiltinClock::Realtime,
                    u64::try_from(realtime).unwrap_or_default(),
                ),
            ],
            primary_trace_clock: Some(BuiltinClock::Monotonic.into()),
        };
        self.0.push(TracePacket {
            sequence_flags: Some(STATE_CLEARED),
            first_packet_on_sequence: Some(true),
            ..packet(Some(session.began), Data::ClockSnapshot(snapshot))
        });
    }

    pub(super) fn track(&mut self, track: TrackDescriptor) {
        self.0.push(packet(None, Data::TrackDescriptor(track)));
    }

    pub(super) fn begin(&mut self, at: Nanos, track: u64, says: Says) {
        self.event(at, says.event(EventType::SliceBegin, track));
    }

    pub(super) fn end(&mut self, at: Nanos, track: u64) {
        self.event(at, event(EventType::SliceEnd, track));
    }

    pub(super) fn slice(&mut self, span: Span, track: u64, says: Says) {
        self.begin(span.start, track, says);
        self.end(span.end, track);
    }

    pub(super) fn instant(&mut self, at: Nanos, track: u64, says: Says) {
        self.event(at, says.event(EventType::Instant, track));
    }

    pub(super) fn counter(&mut self, at: Nanos, track: u64, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.event(
            at,
            TrackEvent {
                counter_value: Some(value),
                ..event(EventType::Counter, track)
            },
        );
    }

    fn event(&mut self, at: Nanos, event: TrackEvent) {
        self.0.push(packet(Some(at), Data::TrackEvent(event)));
    }
}

impl Says {
    fn event(self, kind: EventType, track: u64) -> TrackEvent {
        TrackEvent {
            categories: vec![self.category.to_owned()],
            name: Some(self.name),
            debug_annotations: self.args,
            flow_ids: self.leads.into_iter().collect(),
            terminating_flow_ids: self.ends.into_iter().collect(),
            ..event(kind, track)
        }
    }
}

fn event(kind: EventType, track: u64) -> TrackEvent {
    TrackEvent {
        r#type: Some(kind.into()),
        track_uuid: Some(track),
        ..TrackEvent::default()
    }
}

fn packet(at: Option<Nanos>, data: Data) -> TracePacket {
    TracePacket {
        timestamp: at,
        timestamp_clock_id: at.map(|_| BuiltinClock::Monotonic.into()),
        trusted_packet_sequence_id: Some(SEQUENCE),
        data: Some(data),
        ..TracePacket::default()
    }
}
