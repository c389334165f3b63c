//! The state of the server at one moment: what the live view and the metrics show.

use crate::{
    cause::Cause, device::Device, operation::Op, request::RequestInfo, summary::Summary,
    time::Nanos,
};

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When.
    pub at: Nanos,
    /// The totals so far.
    pub totals: Summary,
    /// Clients' requests under way; `None` while routine is held back in the kernel, where nobody counts them.
    pub under_way: Option<u64>,
    /// Requests that an audit device holds up now, or that queue for one, as far as seen.
    pub held_up: u64,
    /// Each audit device that is known or was named, in order.
    pub devices: Vec<DeviceSnapshot>,
    /// What stalls now, eldest first.
    pub stalls: Vec<OpenStall>,
}

/// How an audit device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes what is written to it.
    Works,
    /// It holds up a request.
    Stalled,
    /// It has stalled or failed, and has not worked since.
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
    /// How it does; `None` as long as nothing has been seen of it.
    pub condition: Option<Condition>,
    /// Since when; `None` where it works, or that is not known.
    pub since: Option<Nanos>,
    /// Why it stalls, or why its first operation failed.
    pub cause: Option<Cause>,
    /// How full its send buffer was, and when.
    pub buffer: Option<SendBuffer>,
    /// Entries that it took; `None` where that is not known of this one alone: the kernel side counts those of all
    /// devices together while routine is held back.
    pub entries: Option<u64>,
    /// Bytes that it took.
    pub bytes: Option<u64>,
    /// Requests that queue for it.
    pub waiting: u64,
    /// Whether `waiting` counts all requests under way, since the stacks cannot be read.
    pub estimated: bool,
}

/// A stall under way: a device that has held up a request for longer than the threshold, and still does.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenStall {
    /// As findings name the hang, once they have told of it.
    pub hang: Option<u64>,
    /// Which device.
    pub device: Device,
    /// When what is waited for now began.
    pub start: Nanos,
    /// What is waited for.
    pub op: Op,
    /// Why, as far as can be said yet.
    pub cause: Cause,
    /// Which request, as far as known yet.
    pub request: RequestInfo,
    /// What the device has held the request up for so far, in stalls that are over and this one, ns.
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
