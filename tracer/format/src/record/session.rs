//! What is said of the trace itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use tracer_model as model;

use crate::{Time, WallClock};

/// What is traced, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Session"))]
pub struct Session<T = String> {
    /// Of vault-tracer.
    pub version: T,
    /// The server's process.
    pub pid: i32,
    /// Its executable.
    pub exe: T,
    /// `uname -r`
    pub kernel: T,
    /// The Go version that the server was built with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_version: Option<T>,
    /// When the probes were attached.
    pub start: Time,
    /// The probes that are attached.
    pub probes: Vec<Probe<T>>,
    /// Where the server runs, by OpenTelemetry's names: `container.id`, `k8s.pod.name` and the like, and what
    /// `OTEL_RESOURCE_ATTRIBUTES` of the tracer says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, String>,
    /// In a file that goes on with the trace of an earlier one: the number of this file, from 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Probe"))]
pub struct Probe<T = String> {
    /// The kernel's function or tracepoint.
    pub hook: T,
    /// `fentry`, `tracepoint`, ...
    pub kind: T,
}

/// The trace goes on in the next file, whose `session` has the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rotated {
    /// The number of the file that ends here, from 1.
    pub part: u32,
}

/// The server's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ended {
    /// When it ended.
    pub at: Time,
    /// Client requests that were under way.
    pub requests: u64,
}

/// Totals of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// When the trace ended.
    pub end: Time,
    /// Client requests that were answered.
    pub requests: u64,
    /// There may have been more requests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requests_is_lower_bound: bool,
    /// Requests answered with a status of 500 or more; absent where any client uses TLS, since the status cannot be read then, and
    /// in traces of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_requests: Option<u64>,
    /// Entries written to audit devices.
    pub audit_writes: u64,
    /// Hangs found.
    pub hangs: u64,
    /// Requests that met a device that failed without a hang.
    pub refusals: u64,
    /// Incidents found.
    pub incidents: u64,
    /// Events seen.
    pub events: u64,
    /// Events that the kernel had no room for.
    pub events_lost: u64,
}

impl Session {
    /// Of a trace that begins, or of a server that was started again.
    pub fn of(session: &model::Session, clock: WallClock) -> Self {
        let probe = |probe: &model::Probe| Probe {
            hook: probe.hook.clone(),
            kind: probe.kind.clone(),
        };
        Self {
            version: session.version.clone(),
            pid: session.pid,
            exe: session.exe.clone(),
            kernel: session.kernel.clone(),
            go_version: session.go_version.clone(),
            start: clock.time(session.began),
            probes: session.probes.iter().map(probe).collect(),
            resource: session.resource.clone(),
            part: None,
        }
    }
}

impl Ended {
    /// Of the server's process.
    pub fn of(ended: model::Ended, clock: WallClock) -> Self {
        Self {
            at: clock.time(ended.at),
            requests: ended.under_way,
        }
    }
}

impl Summary {
    /// Of a trace that is over.
    pub fn of(summary: &model::Summary, clock: WallClock) -> Self {
        Self {
            end: clock.time(summary.end),
            requests: summary.requests,
            requests_is_lower_bound: summary.requests_at_least,
            failed_requests: summary.failed_requests,
            audit_writes: summary.audit_writes,
            hangs: summary.hangs,
            refusals: summary.refusals,
            incidents: summary.incidents,
            events: summary.events,
            events_lost: summary.events_lost,
        }
    }
}
