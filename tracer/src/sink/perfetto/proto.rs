//! Perfetto's messages, as far as they are written. Field numbers are those of Perfetto's published
//! definitions (`protos/perfetto/` in its repository, the file beside each message); fields that
//! nobody here writes are left out, and passed over when they are read.

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
    /// When, ns of the clock below.
    #[prost(uint64, optional, tag = "8")]
    pub timestamp: Option<u64>,
    /// A [`BuiltinClock`].
    #[prost(enumeration = "BuiltinClock", optional, tag = "58")]
    pub timestamp_clock_id: Option<i32>,
    /// Who wrote it.
    #[prost(uint32, optional, tag = "10")]
    pub trusted_packet_sequence_id: Option<u32>,
    /// Bits of `TracePacket.SequenceFlags`.
    #[prost(uint32, optional, tag = "13")]
    pub sequence_flags: Option<u32>,
    /// Whether none of this writer's packets came before.
    #[prost(bool, optional, tag = "87")]
    pub first_packet_on_sequence: Option<bool>,
    /// What it says.
    #[prost(oneof = "Data", tags = "6, 11, 60")]
    pub data: Option<Data>,
}

/// `SEQ_INCREMENTAL_STATE_CLEARED` of `TracePacket.SequenceFlags`: nothing said before is needed.
pub const STATE_CLEARED: u32 = 1;

/// `TracePacket.data`
#[derive(Clone, PartialEq, Oneof)]
pub enum Data {
    /// Readings of several clocks at one moment.
    #[prost(message, tag = "6")]
    ClockSnapshot(ClockSnapshot),
    /// Something happened on a track.
    #[prost(message, tag = "11")]
    TrackEvent(TrackEvent),
    /// There is a track.
    #[prost(message, tag = "60")]
    TrackDescriptor(TrackDescriptor),
}

/// `common/builtin_clock.proto`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum BuiltinClock {
    /// None.
    Unknown = 0,
    /// `CLOCK_REALTIME`
    Realtime = 1,
    /// `CLOCK_MONOTONIC`
    Monotonic = 3,
}

/// `trace/clock_snapshot.proto`
#[derive(Clone, PartialEq, Message)]
pub struct ClockSnapshot {
    /// The clocks.
    #[prost(message, repeated, tag = "1")]
    pub clocks: Vec<Clock>,
    /// That of the trace's own time, else Perfetto's is `CLOCK_BOOTTIME`.
    #[prost(enumeration = "BuiltinClock", optional, tag = "2")]
    pub primary_trace_clock: Option<i32>,
}

/// `ClockSnapshot.Clock`
#[derive(Clone, PartialEq, Message)]
pub struct Clock {
    /// A [`BuiltinClock`].
    #[prost(enumeration = "BuiltinClock", optional, tag = "1")]
    pub clock_id: Option<i32>,
    /// Its reading, ns.
    #[prost(uint64, optional, tag = "2")]
    pub timestamp: Option<u64>,
}

/// `trace/track_event/track_descriptor.proto`
#[derive(Clone, PartialEq, Message)]
pub struct TrackDescriptor {
    /// Names it within the trace.
    #[prost(uint64, optional, tag = "1")]
    pub uuid: Option<u64>,
    /// The track it is shown below.
    #[prost(uint64, optional, tag = "5")]
    pub parent_uuid: Option<u64>,
    /// For people. Tracks of one name and one parent are shown as one.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// Of a process's track: which process.
    #[prost(message, optional, tag = "3")]
    pub process: Option<ProcessDescriptor>,
    /// Of a counter's track: what is counted.
    #[prost(message, optional, tag = "8")]
    pub counter: Option<CounterDescriptor>,
    /// In which order the tracks below it are shown.
    #[prost(enumeration = "ChildOrdering", optional, tag = "11")]
    pub child_ordering: Option<i32>,
}

/// `TrackDescriptor.ChildTracksOrdering`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum ChildOrdering {
    /// The reader's choice.
    Unknown = 0,
    /// By name.
    Lexicographic = 1,
    /// By the first event.
    Chronological = 2,
}

/// `trace/track_event/process_descriptor.proto`
#[derive(Clone, PartialEq, Message)]
pub struct ProcessDescriptor {
    /// Its ID.
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    /// The name of its program.
    #[prost(string, optional, tag = "6")]
    pub process_name: Option<String>,
}

/// `trace/track_event/counter_descriptor.proto`
#[derive(Clone, PartialEq, Message)]
pub struct CounterDescriptor {
    /// Of what.
    #[prost(enumeration = "Unit", optional, tag = "3")]
    pub unit: Option<i32>,
    /// Counters of one key below one track are drawn to one scale.
    #[prost(string, optional, tag = "7")]
    pub y_axis_share_key: Option<String>,
}

/// `CounterDescriptor.Unit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum Unit {
    /// None.
    Unspecified = 0,
    /// Pieces.
    Count = 2,
    /// Bytes.
    SizeBytes = 3,
}

/// `trace/track_event/track_event.proto`
#[derive(Clone, PartialEq, Message)]
pub struct TrackEvent {
    /// What kind of event.
    #[prost(enumeration = "EventType", optional, tag = "9")]
    pub r#type: Option<i32>,
    /// On which track.
    #[prost(uint64, optional, tag = "11")]
    pub track_uuid: Option<u64>,
    /// To be filtered by.
    #[prost(string, repeated, tag = "22")]
    pub categories: Vec<String>,
    /// For people; few different ones.
    #[prost(string, optional, tag = "23")]
    pub name: Option<String>,
    /// Of a counter.
    #[prost(int64, optional, tag = "30")]
    pub counter_value: Option<i64>,
    /// Arrows that lead on from here.
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub flow_ids: Vec<u64>,
    /// Arrows that end here.
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    pub terminating_flow_ids: Vec<u64>,
    /// Its arguments.
    #[prost(message, repeated, tag = "4")]
    pub debug_annotations: Vec<DebugAnnotation>,
}

/// `TrackEvent.Type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum EventType {
    /// None.
    Unspecified = 0,
    /// A slice begins.
    SliceBegin = 1,
    /// The innermost slice of the track that has not ended ends.
    SliceEnd = 2,
    /// Something without a length.
    Instant = 3,
    /// A counter has this value from here on.
    Counter = 4,
}

/// `trace/track_event/debug_annotation.proto`
#[derive(Clone, PartialEq, Message)]
pub struct DebugAnnotation {
    /// Its name.
    #[prost(string, optional, tag = "10")]
    pub name: Option<String>,
    /// Its value, if it is a single one.
    #[prost(oneof = "Value", tags = "2, 3, 4, 5, 6")]
    pub value: Option<Value>,
    /// Named values.
    #[prost(message, repeated, tag = "11")]
    pub dict_entries: Vec<DebugAnnotation>,
    /// Values in a row.
    #[prost(message, repeated, tag = "12")]
    pub array_values: Vec<DebugAnnotation>,
}

/// `DebugAnnotation.value`
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// Not negative.
    #[prost(uint64, tag = "3")]
    Uint(u64),
    /// Negative.
    #[prost(int64, tag = "4")]
    Int(i64),
    /// Not whole.
    #[prost(double, tag = "5")]
    Double(f64),
    /// Text.
    #[prost(string, tag = "6")]
    String(String),
}
