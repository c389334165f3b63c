//! The state of the server at one moment: what the live view and the metrics show.

use crate::{
    cause::Cause, device::Device, operation::Op, request::RequestInfo, summary::Summary,
    time::Nanos,
};

/// The state of the server and its audit devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Time of the snapshot.
    pub at: Nanos,
    /// The totals so far.
    pub totals: Summary,
    /// Clients' requests under way; `None` while buffering: the kernel side does not count them.
    pub under_way: Option<u64>,
    /// Requests that an audit device blocks now, or that queue for one, as far as seen.
    pub blocked: u64,
    /// Each audit device that is known or was named, in order.
    pub devices: Vec<DeviceSnapshot>,
    /// Stalls under way, oldest first.
    pub stalls: Vec<OpenStall>,
}

/// The condition of an audit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It accepts writes.
    Works,
    /// It blocks a request.
    Stalled,
    /// It has stalled or failed, and no operation has succeeded since.
    Failing,
    /// It acknowledges nothing: its send buffer fills.
    Filling,
    /// The server has closed the connection to it, and not opened another.
    Closed,
}

impl Condition {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Works,
        Self::Stalled,
        Self::Failing,
        Self::Filling,
        Self::Closed,
    ];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Works => "ok",
            Condition::Stalled => "stalled",
            Condition::Failing => "failing",
            Condition::Filling => "filling",
            Condition::Closed => "closed",
        }
    }
}

/// One audit device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSnapshot {
    /// Which one.
    pub device: Device,
    /// Its condition; `None` as long as nothing has been seen of it.
    pub condition: Option<Condition>,
    /// Since when; `None` where it works, or that is not known.
    pub since: Option<Nanos>,
    /// Why it stalls, or why its first operation failed.
    pub cause: Option<Cause>,
    /// How full its send buffer was, and when.
    pub buffer: Option<SendBuffer>,
    /// Entries that it took; `None` where that is not known of this one alone: the kernel side counts those of all
    /// devices together while buffering.
    pub entries: Option<u64>,
    /// Bytes that it took.
    pub bytes: Option<u64>,
    /// Requests that queue for it.
    pub waiting: u64,
    /// Whether `waiting` counts all requests under way, since the stacks cannot be read.
    pub estimated: bool,
}

/// A stall under way: a device has blocked a request for longer than the threshold, and still does.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenStall {
    /// The number of the hang, once a finding has reported it.
    pub hang: Option<u64>,
    /// Which device.
    pub device: Device,
    /// Begin of the operation that is waited for.
    pub start: Nanos,
    /// What is waited for.
    pub op: Op,
    /// The cause, as far as known yet.
    pub cause: Cause,
    /// Which request, as far as known yet.
    pub request: RequestInfo,
    /// How long the device has blocked the request so far, this stall and earlier ones, ns.
    pub blocked: Nanos,
}

/// How full a send buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendBuffer {
    /// When that was seen.
    pub at: Nanos,
    /// Memory of the send queue, bytes: more than the data in it.
    pub queued: u64,
    /// Limit of that, bytes.
    pub limit: u64,
}
