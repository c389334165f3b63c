//! Packets in the order in which they are written, and the ids of tracks and flows.

use super::proto::{
    BuiltinClock, Clock, ClockSnapshot, Data, EventType, STATE_CLEARED, TracePacket,
    TrackDescriptor, TrackEvent,
};
use tracer_format::WallClock;
use tracer_model::{Nanos, Session};

/// Our packet sequence. Perfetto's own service counts from 1: traces of both can be concatenated.
const SEQUENCE: u32 = 0x7674_7263;

/// Begin and end of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: Nanos,
    pub(super) end: Nanos,
}

impl Interval {
    /// Whether a slice of this time, written after `earlier`, would break its nesting on the same track. Readers sort
    /// by time only and keep the written order within one time: a slice may begin when the earlier one ends, but not
    /// end when it begins.
    pub(super) fn conflicts(self, earlier: Self) -> bool {
        !(self.start >= earlier.end || self.end < earlier.start)
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) packets: Vec<TracePacket>,
    next_id: u64,
}

impl Writer {
    /// The first packet of a trace: its clock, and that clock's offset to the wall clock.
    pub(super) fn begin_trace(&mut self, session: &Session, wall: WallClock) {
        let realtime = wall.time(session.began).as_nanosecond();
        let realtime = u64::try_from(realtime).unwrap_or_default();
        // Ids begin at the time of the trace: those of concatenated traces differ, and a recording always replays to
        // the same ids.
        self.next_id = realtime;
        let reading = |clock: BuiltinClock, timestamp| Clock {
            clock_id: Some(clock.into()),
            timestamp: Some(timestamp),
        };
        let snapshot = ClockSnapshot {
            clocks: vec![
                reading(BuiltinClock::Monotonic, session.began),
                reading(BuiltinClock::Realtime, realtime),
            ],
            primary_trace_clock: Some(BuiltinClock::Monotonic.into()),
        };
        self.packets.push(TracePacket {
            sequence_flags: Some(STATE_CLEARED),
            first_packet_on_sequence: Some(true),
            ..packet(Some(session.began), Data::ClockSnapshot(snapshot))
        });
    }

    /// An unused id for a track or a flow.
    pub(super) fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    /// A new track; `uuid` is filled in and returned.
    pub(super) fn track(&mut self, track: TrackDescriptor) -> u64 {
        let uuid = self.id();
        let track = TrackDescriptor {
            uuid: Some(uuid),
            ..track
        };
        self.packets
            .push(packet(None, Data::TrackDescriptor(track)));
        uuid
    }

    pub(super) fn begin(&mut self, at: Nanos, track: u64, event: TrackEvent) {
        self.event(at, track, EventType::SliceBegin, event);
    }

    pub(super) fn end(&mut self, at: Nanos, track: u64) {
        self.event(at, track, EventType::SliceEnd, TrackEvent::default());
    }

    pub(super) fn slice(&mut self, time: Interval, track: u64, event: TrackEvent) {
        self.begin(time.start, track, event);
        self.end(time.end, track);
    }

    pub(super) fn instant(&mut self, at: Nanos, track: u64, event: TrackEvent) {
        self.event(at, track, EventType::Instant, event);
    }

    pub(super) fn counter(&mut self, at: Nanos, track: u64, value: u64) {
        let value = TrackEvent {
            counter_value: Some(i64::try_from(value).unwrap_or(i64::MAX)),
            ..TrackEvent::default()
        };
        self.event(at, track, EventType::Counter, value);
    }

    fn event(&mut self, at: Nanos, track: u64, kind: EventType, event: TrackEvent) {
        let event = TrackEvent {
            r#type: Some(kind.into()),
            track_uuid: Some(track),
            ..event
        };
        self.packets.push(packet(Some(at), Data::TrackEvent(event)));
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
