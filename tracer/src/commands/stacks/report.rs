//! The report of `stacks` as data, which is its JSON: `docs/stacks.md` describes it.

use serde::Serialize;
use tracer_format::Time;

use tracer_model::{Device, Nanos, Phase, WaitReason};

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct StacksReport {
    /// Of the server.
    pub(super) pid: i32,
    pub(super) exe: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) go_version: Option<String>,
    /// When the second sample was taken.
    pub(super) at: Time,
    /// From the first sample to the second.
    pub(super) interval_ns: Nanos,
    /// Requests that wait for an audit device.
    pub(super) requests: usize,
    /// Goroutines that were in audit code at the second sample, but did not wait there since the first.
    pub(super) passing: usize,
    /// All that are alive.
    pub(super) goroutines: usize,
    /// Waits in audit code: the device that most requests wait for first.
    pub(super) audit: Vec<AuditGroup>,
    /// All other goroutines, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) others: Option<OtherGoroutines>,
    /// Limits of what was read.
    pub(super) warnings: Vec<String>,
}

/// Goroutines that wait in the same place of audit code for the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AuditGroup {
    /// Absent if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<Device>,
    pub(super) wait: WaitReason,
    /// Which of the request's two entries is written, where the code or the arguments show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) phase: Option<Phase>,
    pub(super) goroutines: usize,
    /// Different requests that wait for these goroutines. None where all of them have been answered.
    pub(super) requests: usize,
    /// How long the longest has waited.
    pub(super) longest_ns: Nanos,
    /// It may have waited for longer.
    pub(super) longest_is_lower_bound: bool,
    /// What is known of those requests, at most [`Self::MAX_REQUESTS`], the longest wait first.
    pub(super) waiting: Vec<WaitingRequest>,
    /// Functions that show what is waited for, innermost first.
    pub(super) functions: Vec<String>,
}

impl AuditGroup {
    /// Requests that are listed.
    pub(super) const MAX_REQUESTS: usize = 100;

    /// Whether it waits for the device, or for who uses it: not for a salt, say.
    pub(super) fn is_for_device(&self) -> bool {
        self.wait != WaitReason::Other
    }
}

/// A request, as far as the server's own arguments show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct WaitingRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// As the audit entry will have it: behind a balancer, the balancer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remote_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remote_port: Option<u16>,
    pub(super) waited_ns: Nanos,
    pub(super) waited_is_lower_bound: bool,
}

/// Goroutines that are not in audit code.
#[derive(Debug, Serialize)]
pub(super) struct OtherGoroutines {
    /// By equal stacks, the largest groups first.
    pub(super) groups: Vec<OtherGroup>,
    /// Goroutines whose stack is none of these: too many are different.
    pub(super) ungrouped: usize,
    /// Goroutines that ran.
    pub(super) unread: usize,
}

/// Goroutines with equal stacks.
#[derive(Debug, Serialize)]
pub(super) struct OtherGroup {
    pub(super) goroutines: usize,
    /// In Go's own words: `chan receive`, `IO wait`, `syscall`. Absent if it waits for a processor, or if they cannot be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<String>,
    /// The longest of them has waited for this long, or longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_least_ns: Option<Nanos>,
    /// Innermost first; an address where there is no name.
    pub(super) functions: Vec<String>,
}
