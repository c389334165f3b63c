//! What the server itself says of an entry that an audit device did not take.

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
    /// Why.
    pub reason: FailureReason,
    /// Whether a connection could not be opened, rather than written to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dial: bool,
    /// Of a file: bytes free in its file system, read outside of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
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
