//! What the server itself says of an entry that an audit device did not take.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::device::Device;

/// One device's failure, as the server's log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFailure {
    /// The device's path (`vault audit list`), where the server says it: `socket/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The device, as far as the error has its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Of a name that was not found: what the server's resolver was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<FailedLookup>,
    /// Why.
    pub reason: FailureReason,
    /// Whether a connection could not be opened, rather than written to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dial: bool,
    /// Of a file: bytes free in its file system, read outside of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
}

impl DeviceFailure {
    /// For this reason, and no more is known of it.
    pub fn of(reason: FailureReason) -> Self {
        Self {
            path: None,
            device: None,
            lookup: None,
            reason,
            dial: false,
            free: None,
        }
    }
}

/// A look-up of a device's name that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedLookup {
    /// As it was looked up.
    pub name: String,
    /// The name server that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SocketAddr>,
    /// What it answered, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<NameAnswer>,
}

/// What became of a question to a name server, as far as Go's resolver distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameAnswer {
    /// The name does not exist (NXDOMAIN), or has no address.
    NoSuchHost,
    /// Another code: SERVFAIL, REFUSED.
    ServerFailure,
    /// No answer that can be used: one that is cut short, malformed, or refers elsewhere.
    Unusable,
    /// None came in time.
    Missing,
    /// The name server cannot be reached.
    Unreachable,
}

/// Why an entry was not taken, as far as the error of the last attempt has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// A positive errno.
    Errno(i32),
    /// The status of an HTTP answer.
    Status(u16),
    /// The device's time-out, or the server's own for an entry.
    Timeout,
    /// The device's name could not be resolved.
    Resolver,
    /// The error says nothing of these.
    Unknown,
    /// There is no error: another device took the entry, and nothing was seen of this one.
    NotTaken,
}

impl FailureReason {
    /// Of an HTTP answer.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// A positive errno.
    pub fn errno(self) -> Option<i32> {
        match self {
            Self::Errno(errno) => Some(errno),
            _ => None,
        }
    }
}
