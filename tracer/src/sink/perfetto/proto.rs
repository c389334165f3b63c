//! Perfetto's messages, as far as they are written. Names, numbers and meanings of fields are those of Perfetto's
//! published definitions (`protos/perfetto/` in its repository, the file beside each message); fields that are never
//! written here are left out, and skipped when they are read.

#![expect(
    missing_docs,
    reason = "Perfetto documents its fields; here only what is not evident from the name"
)]

use prost::{Enumeration, Message, Oneof};

/// A whole trace, and any run of its packets: traces behind one another are one trace
/// (`trace/trace.proto`).
#[derive(Clone, PartialEq, Message)]
pub struct Trace {
    /// In any order: readers sort them by their time.
    #[prost(message, repeated, tag = "1")]
    pub packet: Vec<TracePacket>,
}

/// `trace/trace_packet.proto`
#[derive(Clone, PartialEq, Message)]
pub struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    pub timestamp: Option<u64>,
    #[prost(enumeration = "BuiltinClock", optional, tag = "58")]
    pub timestamp_clock_id: Option<i32>,
    #[prost(uint32, optional, tag = "10")]
    pub trusted_packet_sequence_id: Option<u32>,
    #[prost(uint32, optional, tag = "13")]
    pub sequence_flags: Option<u32>,
    #[prost(bool, optional, tag = "87")]
    pub first_packet_on_sequence: Option<bool>,
    #[prost(oneof = "Data", tags = "6, 11, 60")]
    pub data: Option<Data>,
}

/// `SEQ_INCREMENTAL_STATE_CLEARED` of `TracePacket.SequenceFlags`: no earlier packet is needed.
pub const STATE_CLEARED: u32 = 1;

/// `TracePacket.data`
#[derive(Clone, PartialEq, Oneof)]
pub enum Data {
    #[prost(message, tag = "6")]
    ClockSnapshot(ClockSnapshot),
    #[prost(message, tag = "11")]
    TrackEvent(TrackEvent),
    #[prost(message, tag = "60")]
    TrackDescriptor(TrackDescriptor),
}

/// `common/builtin_clock.proto`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum BuiltinClock {
    Unknown = 0,
    Realtime = 1,
    Monotonic = 3,
}

/// `trace/clock_snapshot.proto`
#[derive(Clone, PartialEq, Message)]
pub struct ClockSnapshot {
    #[prost(message, repeated, tag = "1")]
    pub clocks: Vec<Clock>,
    /// Clock of the trace's timestamps; `CLOCK_BOOTTIME` where absent.
    #[prost(enumeration = "BuiltinClock", optional, tag = "2")]
    pub primary_trace_clock: Option<i32>,
}

/// `ClockSnapshot.Clock`
#[derive(Clone, PartialEq, Message)]
pub struct Clock {
    #[prost(enumeration = "BuiltinClock", optional, tag = "1")]
    pub clock_id: Option<i32>,
    #[prost(uint64, optional, tag = "2")]
    pub timestamp: Option<u64>,
}

/// `trace/track_event/track_descriptor.proto`
#[derive(Clone, PartialEq, Message)]
pub struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    pub uuid: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub parent_uuid: Option<u64>,
    /// Tracks of one name and one parent are shown as one.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub process: Option<ProcessDescriptor>,
    #[prost(message, optional, tag = "8")]
    pub counter: Option<CounterDescriptor>,
    #[prost(enumeration = "ChildOrdering", optional, tag = "11")]
    pub child_ordering: Option<i32>,
}

/// `TrackDescriptor.ChildTracksOrdering`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum ChildOrdering {
    Unknown = 0,
    Lexicographic = 1,
    Chronological = 2,
}

/// `trace/track_event/process_descriptor.proto`
#[derive(Clone, PartialEq, Message)]
pub struct ProcessDescriptor {
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub process_name: Option<String>,
}

/// `trace/track_event/counter_descriptor.proto`
#[derive(Clone, PartialEq, Message)]
pub struct CounterDescriptor {
    #[prost(enumeration = "Unit", optional, tag = "3")]
    pub unit: Option<i32>,
    /// Counters of one key below one track are drawn to one scale.
    #[prost(string, optional, tag = "7")]
    pub y_axis_share_key: Option<String>,
}

/// `CounterDescriptor.Unit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum Unit {
    Unspecified = 0,
    Count = 2,
    SizeBytes = 3,
}

/// `trace/track_event/track_event.proto`
#[derive(Clone, PartialEq, Message)]
pub struct TrackEvent {
    #[prost(enumeration = "EventType", optional, tag = "9")]
    pub r#type: Option<i32>,
    #[prost(uint64, optional, tag = "11")]
    pub track_uuid: Option<u64>,
    #[prost(string, repeated, tag = "22")]
    pub categories: Vec<String>,
    #[prost(string, optional, tag = "23")]
    pub name: Option<String>,
    #[prost(int64, optional, tag = "30")]
    pub counter_value: Option<i64>,
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub flow_ids: Vec<u64>,
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    pub terminating_flow_ids: Vec<u64>,
    #[prost(message, repeated, tag = "4")]
    pub debug_annotations: Vec<DebugAnnotation>,
}

/// `TrackEvent.Type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum EventType {
    Unspecified = 0,
    SliceBegin = 1,
    /// The innermost slice of the track that has not ended ends.
    SliceEnd = 2,
    Instant = 3,
    /// A counter has this value from here on.
    Counter = 4,
}

/// `trace/track_event/debug_annotation.proto`
#[derive(Clone, PartialEq, Message)]
pub struct DebugAnnotation {
    #[prost(string, optional, tag = "10")]
    pub name: Option<String>,
    #[prost(oneof = "Value", tags = "2, 3, 4, 5, 6")]
    pub value: Option<Value>,
    #[prost(message, repeated, tag = "11")]
    pub dict_entries: Vec<DebugAnnotation>,
    #[prost(message, repeated, tag = "12")]
    pub array_values: Vec<DebugAnnotation>,
}

/// `DebugAnnotation.value`
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(uint64, tag = "3")]
    Uint(u64),
    #[prost(int64, tag = "4")]
    Int(i64),
    #[prost(double, tag = "5")]
    Double(f64),
    #[prost(string, tag = "6")]
    String(String),
}
