//! What identifies a request, and what ties an operation to it.

use std::net::SocketAddr;

use crate::{entry::EntryHead, time::Nanos};

/// Names a request for the length of a trace: the server's goroutines outlive their requests.
pub type RequestSeq = u64;

/// What ties a stall to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// The goroutine that reads and answers the request did it.
    Goroutine,
    /// A goroutine did it that was started by the one serving the client's connection.
    Lineage,
    /// The entry that was being written says so; nothing is known of a client.
    Payload,
    /// It never reached the device itself: its goroutine was seen waiting for the device's lock.
    Queued,
}

impl Attribution {
    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Attribution::Goroutine => "goroutine",
            Attribution::Lineage => "lineage",
            Attribution::Payload => "payload",
            Attribution::Queued => "queued",
        }
    }
}

/// A request, as far as known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestInfo {
    /// `request.id` of its audit entries.
    pub id: Option<String>,
    /// `read`, `update`, ...
    pub operation: Option<String>,
    /// `sys/mounts`, ...
    pub path: Option<String>,
    /// The client's end of its connection to the server.
    pub client: Option<SocketAddr>,
    /// "1.1" for one request at a time on a connection, "2" for several.
    pub http_version: Option<&'static str>,
    /// First sign of it.
    pub start: Nanos,
    /// To the answer, or to its last sign of life, ns.
    pub duration: Nanos,
    /// Whether `duration` is only what could be seen.
    pub lower_bound: bool,
    /// How the stall is tied to it.
    pub tie: Option<Attribution>,
    /// HTTP status of its answer, where it could be read.
    pub status: Option<u16>,
    /// When its client closed the connection, if that was before the answer.
    pub client_gone: Option<Nanos>,
    /// `request.remote_address` of its entries: behind a balancer another one than that of `client`.
    pub remote_address: Option<String>,
    /// `request.remote_port` of its entries.
    pub remote_port: Option<u16>,
    /// `request.namespace` of its entries.
    pub namespace: Option<String>,
}

impl RequestInfo {
    /// Takes what an audit entry of this request says.
    pub fn learn(&mut self, entry: &EntryHead) {
        self.id.clone_from(&entry.id);
        self.operation.clone_from(&entry.operation);
        self.path.clone_from(&entry.path);
        self.remote_address.clone_from(&entry.remote_address);
        self.remote_port = entry.remote_port;
        self.namespace.clone_from(&entry.namespace);
    }
}
