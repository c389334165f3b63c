//! Records of a JSON Lines trace as they are read: of each, the fields that a report needs. What else a record has, and
//! further types of records, are passed over. The writer is [`crate::sink::jsonl`]; `tests/report.rs` holds the two together.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A length of time in a record, ns.
pub type Nanos = u64;

/// What the first field of a record says it is.
#[derive(Deserialize)]
pub struct Kind<'a> {
    /// `hang`, `session`, ...
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
}

/// How our own traces begin each line.
const BEGIN: &[u8] = br#"{"type":""#;

/// The type of the record in this line. Looks no further than it has to.
pub fn kind(line: &[u8]) -> serde_json::Result<Cow<'_, str>> {
    let quick = line.strip_prefix(BEGIN).and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let name = str::from_utf8(&rest[..end]).ok()?;
        (!name.contains('\\')).then_some(name)
    });
    match quick {
        Some(name) => Ok(Cow::Borrowed(name)),
        None => Ok(serde_json::from_slice::<Kind>(line)?.kind),
    }
}

/// An audit device, as the trace spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Device {
    /// `tcp`, ...
    pub transport: String,
    /// `10.0.0.2:1515`, ...; empty if not known.
    pub address: String,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.address {
            "" => f.write_str(&self.transport),
            address => write!(f, "{} {address}", self.transport),
        }
    }
}

/// The same, not yet copied out of its line.
#[derive(Deserialize)]
pub struct DeviceRef<'a> {
    /// `tcp`, ...
    #[serde(borrow)]
    pub transport: Cow<'a, str>,
    /// `10.0.0.2:1515`, ...
    #[serde(borrow)]
    pub address: Cow<'a, str>,
}

impl DeviceRef<'_> {
    /// Whether it is this one.
    pub fn is(&self, device: &Device) -> bool {
        self.address == device.address && self.transport == device.transport
    }

    /// Copied.
    pub fn to_device(&self) -> Device {
        Device {
            transport: super::words::short(&self.transport),
            address: super::words::short(&self.address),
        }
    }
}

/// `session` and `attached`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Of vault-tracer.
    pub version: Option<String>,
    /// The server.
    pub pid: Option<i64>,
    /// Its executable.
    pub exe: Option<String>,
    /// `uname -r`
    pub kernel: Option<String>,
    /// That the server was built with.
    pub go_version: Option<String>,
    /// When the probes were attached.
    pub start: Timestamp,
}

/// Of a `hang`, what each is counted by.
#[derive(Deserialize)]
pub struct HangHead<'a> {
    /// Names it within its trace.
    pub id: Option<String>,
    /// First sign of the first stall.
    pub start: Timestamp,
    /// End of the last.
    pub end: Option<Timestamp>,
    /// Sum of the stalls.
    pub duration_ns: Nanos,
    /// What held the request up.
    #[serde(borrow)]
    pub device: DeviceRef<'a>,
    /// Why.
    #[serde(borrow)]
    pub cause: Cow<'a, str>,
    /// What was held up.
    #[serde(borrow, default)]
    pub request: RequestHead<'a>,
    /// By what.
    #[serde(borrow, default)]
    pub stalls: Vec<StallHead<'a>>,
}

/// Of its request.
#[derive(Default, Deserialize)]
pub struct RequestHead<'a> {
    /// As in the audit log; empty if not known, as all here.
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    /// `read`, ...
    #[serde(borrow, default)]
    pub operation: Cow<'a, str>,
    /// `sys/mounts`, ...
    #[serde(borrow, default)]
    pub path: Cow<'a, str>,
    /// The client's end of its connection.
    #[serde(borrow, default)]
    pub client_address: Cow<'a, str>,
    /// Its port.
    pub client_port: Option<u16>,
    /// First sign of it.
    #[serde(borrow, default)]
    pub start: Cow<'a, str>,
}

/// Of its stalls.
#[derive(Deserialize)]
pub struct StallHead<'a> {
    /// `connect`, ...
    #[serde(borrow)]
    pub op: Cow<'a, str>,
    /// How long.
    pub duration_ns: Nanos,
}

/// A `hang` in full: those that are shown one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hang {
    /// Names it within its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// First sign of the first stall.
    pub start: Timestamp,
    /// End of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// Sum of the stalls.
    pub duration_ns: Nanos,
    /// What held the request up.
    pub device: Device,
    /// Why.
    pub cause: String,
    /// In words.
    #[serde(default)]
    pub explanation: String,
    /// What was held up.
    #[serde(default)]
    pub request: Request,
    /// By what, in order.
    #[serde(default)]
    pub stalls: Vec<Stall>,
}

/// A request, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// As in the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `read`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// `sys/mounts`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The client's end of its connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    /// `1.1`, `2`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_version: Option<String>,
    /// First sign of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// To its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<Nanos>,
    /// Whether that is only what could be seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duration_is_lower_bound: bool,
    /// What ties the stalls to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tie: Option<String>,
    /// HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// One wait within a hang.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// `connect`, `write`, `lock`
    pub op: String,
    /// `request`, `response`: the entry it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// First sign of waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// How long.
    pub duration_ns: Nanos,
    /// By how much beginning or end may be off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty_ns: Option<Nanos>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Of this one.
    #[serde(default)]
    pub cause: String,
    /// Of a `lock`: who was in the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// Whether no stack told of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    /// What shows it, whatever that is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub evidence: Map<String, Value>,
}

/// `stalled`: what is left of a hang where the trace was cut before it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stalled {
    /// The hang it would have become.
    pub hang: String,
    /// What holds the request up.
    pub device: Device,
    /// When the stall began.
    pub start: Timestamp,
    /// When it was told.
    pub at: Timestamp,
    /// What is waited for.
    #[serde(default)]
    pub op: String,
    /// Why, as far as could be said.
    #[serde(default)]
    pub cause: String,
    /// As far as known then.
    #[serde(default)]
    pub request: Request,
    /// Requests that queued behind it.
    #[serde(default)]
    pub waiting: u64,
    /// What the device had held the request up for.
    #[serde(default)]
    pub blocked_ns: Nanos,
}

/// `refusal`
#[derive(Deserialize)]
pub struct Refusal<'a> {
    /// What failed.
    #[serde(borrow)]
    pub device: DeviceRef<'a>,
    /// When.
    pub start: Timestamp,
    /// Why.
    #[serde(borrow)]
    pub cause: Cow<'a, str>,
    /// In words.
    #[serde(borrow, default)]
    pub explanation: Cow<'a, str>,
}

/// `lost_entries`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Whose.
    pub device: Device,
    /// When the connection was given up, or the trace ended.
    pub at: Timestamp,
    /// Of what was not acknowledged.
    pub bytes: u64,
    /// Whole ones.
    pub entries: u64,
    /// Their requests.
    #[serde(default)]
    pub requests: Vec<String>,
    /// Whether these are all.
    #[serde(default)]
    pub complete: bool,
    /// Whether the kernel was still trying.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// In words.
    #[serde(default)]
    pub explanation: String,
}

/// `filling`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filling {
    /// Which is silently dead.
    pub device: Device,
    /// When this was told.
    pub at: Timestamp,
    /// In words.
    #[serde(default)]
    pub explanation: String,
}

/// `incident`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Of which device.
    pub device: Device,
    /// Its first failed or stalled operation.
    pub start: Timestamp,
    /// Its first success; absent if the trace ended first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// That of the first operation.
    #[serde(default)]
    pub cause: String,
    /// It made.
    #[serde(default)]
    pub hangs: u64,
    /// It held up or failed.
    #[serde(default)]
    pub requests: u64,
    /// Sum of the hangs.
    #[serde(default)]
    pub blocked_ns: Nanos,
    /// The longest.
    #[serde(default)]
    pub longest_ns: Nanos,
    /// Where that can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_bytes: Option<u64>,
    /// Whole ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_entries: Option<u64>,
}

/// `summary`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Summary {
    /// When the trace ended.
    pub end: Timestamp,
    /// Client requests seen to be answered.
    #[serde(default)]
    pub requests: u64,
    /// Whether there may have been more.
    #[serde(default)]
    pub requests_is_lower_bound: bool,
    /// Entries written to audit sockets.
    #[serde(default)]
    pub audit_writes: u64,
    /// As counted by the agent.
    #[serde(default)]
    pub hangs: u64,
    /// Events seen.
    #[serde(default)]
    pub events: u64,
    /// Records the kernel had no room for.
    #[serde(default)]
    pub events_lost: u64,
}
