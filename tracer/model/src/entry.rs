//! The head of an audit entry: the few fields that ever leave the parser.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::phase::Phase;

/// The two entries of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// Written before the server works on it.
    Request,
    /// Written before the server answers it.
    Response,
}

/// The fields of an entry that the trace may contain. Unknown where the entry was cut short
/// before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryHead {
    /// `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntryKind>,
    /// `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// `request.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `request.operation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// `request.path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `request.remote_address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<String>,
    /// `request.remote_port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// `request.namespace`: its path, or its ID where it has none; absent for the root namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether it was sent in a request of HTTP: a goroutine of the client's writes it, and not the one that audits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub over_http: bool,
    /// Hash of how that request begins, as all of the device do. Not recorded.
    #[serde(skip)]
    pub request_hash: Option<u64>,
}

/// The path in the entry by which the server tries a device that is being enabled. It has an ID of its own, and neither a client nor
/// a token (`vault/audit.go`, `generateAuditTestProbe`).
const TEST_PATH: &str = "sys/audit/test";

impl EntryHead {
    /// Whether it is the entry by which the server tries a device: it is of no request. A client that enables a device of that name
    /// has an address.
    pub fn is_test(&self) -> bool {
        self.kind == Some(EntryKind::Request)
            && self.path.as_deref() == Some(TEST_PATH)
            && self.remote_address.is_none()
            && self.remote_port.is_none()
    }

    /// Without what would name a request.
    #[must_use]
    pub fn nameless(&self) -> Self {
        Self {
            time: self.time,
            over_http: self.over_http,
            request_hash: self.request_hash,
            ..Self::default()
        }
    }

    /// Which of the request's two entries it is.
    pub fn phase(&self) -> Option<Phase> {
        Some(match self.kind? {
            EntryKind::Request => Phase::Request,
            EntryKind::Response => Phase::Response,
        })
    }
}
