//! A request that an audit device blocks, and the waits that this consists of.

use serde::{Deserialize, Serialize};
use tracer_model::{self as model, Attribution, Cause, Op, Outcome, Phase};

use super::{Device, Evidence};
use crate::{Name, Time, WallClock, errno_name, text};

/// An audit device blocked a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Hang"))]
pub struct Hang<T = String, E = Evidence> {
    /// Names it within its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<T>,
    /// The start of the first stall.
    pub start: Time,
    /// The end of the last stall.
    pub end: Time,
    /// The sum of the stalls.
    pub duration_ns: u64,
    /// The device.
    pub device: Device<T>,
    /// The cause of the first stall: what follows is its consequence.
    pub cause: Name<Cause>,
    /// One sentence for the operator.
    pub explanation: T,
    /// The request that was blocked.
    pub request: Request<T>,
    /// What it waited for, in order.
    pub stalls: Vec<Stall<T, E>>,
}

/// A request of a client, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Request"))]
pub struct Request<T = String> {
    /// `request.id` of its audit entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<T>,
    /// `read`, `update`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<T>,
    /// `sys/mounts`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<T>,
    /// The client's end of its connection to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<T>,
    /// The port of that end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    /// `1.1` for one request at a time on a connection, `2` for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_version: Option<T>,
    /// First sign of it.
    pub start: Time,
    /// To its answer, or to its last sign of life.
    pub duration_ns: u64,
    /// `duration_ns` is only what could be seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duration_is_lower_bound: bool,
    /// What ties the stalls to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tie: Option<Name<Attribution>>,
    /// The HTTP status of its answer, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When its client closed the connection, if that was before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_gone_at: Option<Time>,
    /// `request.remote_address` of its audit entries: behind a balancer another one than `client_address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<T>,
    /// `request.remote_port` of its audit entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// `request.namespace` of its audit entries: its path, or its ID where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<T>,
}

/// One wait within a hang.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Stall"))]
pub struct Stall<T = String, E = Evidence> {
    /// What the request waited for.
    pub op: Name<Op>,
    /// The audit entry that it waited for: that of the request, or that of the response.
    pub phase: Name<Phase>,
    /// First sign of waiting.
    pub start: Time,
    /// How long it waited.
    pub duration_ns: u64,
    /// By how much the beginning or the end may be off; absent where both were seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty_ns: Option<u64>,
    /// How it ended; absent where the trace, the request or the server ended first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Name<Outcome>>,
    /// `ETIMEDOUT` and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<T>,
    /// Why it waited.
    pub cause: Name<Cause>,
    /// Of a `lock`: the id of the request that was in the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<T>,
    /// No stack showed the wait: the request was silent while the device was stalled for others, and then used it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    /// What shows the cause.
    pub evidence: E,
}

/// An audit device has been blocking a request for longer than the threshold, and still does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Stalled"))]
pub struct Stalled<T = String> {
    /// The `id` of the hang that this will be part of.
    pub hang: T,
    /// The device.
    pub device: Device<T>,
    /// When the stall began.
    pub start: Time,
    /// When this was written.
    pub at: Time,
    /// What the request waits for.
    pub op: Name<Op>,
    /// Why, as far as can be said yet.
    pub cause: Name<Cause>,
    /// The request, as far as known yet.
    pub request: Request<T>,
    /// Requests that queue behind it.
    pub waiting: u64,
    /// `waiting` counts all requests under way, since stacks cannot be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting_is_estimate: bool,
    /// How long the device has blocked the request so far.
    pub blocked_ns: u64,
}

/// The `id` of a hang, as its records and those that refer to it have it.
pub fn hang_id(number: u64) -> String {
    format!("hang-{number}")
}

impl Hang {
    /// Of a request that is blocked no more.
    pub fn of(hang: &model::Hang, clock: WallClock) -> Self {
        Self {
            id: hang.id.map(hang_id),
            start: clock.time(hang.start),
            end: clock.time(hang.end),
            duration_ns: hang.duration,
            device: (&hang.device).into(),
            cause: hang.cause().into(),
            explanation: text::explain::hang(hang),
            request: Request::of(&hang.request, clock),
            stalls: hang.stalls.iter().map(|s| Stall::of(s, clock)).collect(),
        }
    }
}

impl Stalled {
    /// Of a stall under way.
    pub fn of(stalled: &model::Stalled, clock: WallClock) -> Self {
        Self {
            hang: hang_id(stalled.hang),
            device: (&stalled.device).into(),
            start: clock.time(stalled.start),
            at: clock.time(stalled.at),
            op: stalled.op.into(),
            cause: stalled.cause.into(),
            request: Request::of(&stalled.request, clock),
            waiting: stalled.waiting,
            waiting_is_estimate: stalled.estimated,
            blocked_ns: stalled.blocked,
        }
    }
}

impl Request {
    /// As far as it is known.
    pub fn of(request: &model::RequestInfo, clock: WallClock) -> Self {
        Self {
            id: request.id.clone(),
            operation: request.operation.clone(),
            path: request.path.clone(),
            client_address: request.client.map(|client| client.ip().to_string()),
            client_port: request.client.map(|client| client.port()),
            http_version: request.http_version.map(str::to_owned),
            start: clock.time(request.start),
            duration_ns: request.duration,
            duration_is_lower_bound: request.lower_bound,
            tie: request.tie.map(Name::from),
            status: request.status,
            client_gone_at: request.client_gone.map(|gone| clock.time(gone)),
            remote_address: request.remote_address.clone(),
            remote_port: request.remote_port,
            namespace: request.namespace.clone(),
        }
    }
}

impl Stall {
    /// One wait.
    pub fn of(stall: &model::Stall, clock: WallClock) -> Self {
        Self {
            op: stall.op.into(),
            phase: stall.phase.into(),
            start: clock.time(stall.start),
            duration_ns: stall.duration,
            uncertainty_ns: Some(stall.uncertainty).filter(|uncertainty| *uncertainty > 0),
            outcome: stall.outcome.map(Name::from),
            errno: stall.errno.map(errno_name),
            cause: stall.cause.into(),
            blocked_by: stall.blocked_by.clone(),
            inferred: stall.inferred,
            evidence: Evidence::of(stall, clock),
        }
    }
}
