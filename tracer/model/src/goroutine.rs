//! One goroutine of the server, as the sampler found it.

use serde::{Deserialize, Serialize};

use crate::{device::Device, entry::EntryHead, phase::Phase, time::Nanos};

/// What a parked goroutine of the server waits for, in the code of an audit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The device's lock, which another request holds.
    Lock,
    /// The look-up of the device's name.
    Resolve,
    /// A connection: its socket shows more.
    Connect,
    /// Room for what it writes: in a send buffer, whose socket shows more; in a pipe; on a disk.
    Write,
    /// That a file opens: a FIFO's reader, a disk.
    Open,
    /// The answer of an HTTP server that has got the entry.
    Answer,
    /// Something else.
    Other,
}

/// A request's own goroutine inside the audit broker: `LogRequest` or `LogResponse` is on its stack.
///
/// A request is blocked by auditing exactly as long as its goroutine is there, in every generation of Vault; the goroutines
/// of the devices say which device it is and why (`vault/audit/broker.go`, `vault/vault/audit_broker.go`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerSample {
    /// The request's goroutine.
    pub goid: u64,
    /// The goroutines that started it, nearest first, as far as they live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<u64>,
    /// For which of the request's entries, where the code shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What the arguments on its stack say of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryHead>,
}

/// A request's own goroutine that has forwarded the request to the active node of the cluster, and waits for the answer
/// (`vault/request_forwarding.go`, `ForwardRequest`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedSample {
    /// The request's goroutine.
    pub goid: u64,
    /// The goroutines that started it, nearest first, as far as they live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<u64>,
    /// The first sample of all that have found it there.
    pub since: Nanos,
    /// Where the active node listens, if that is certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// One goroutine that works on a client's request, or on its entry, as found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoroutineSample {
    /// The goroutine that waits.
    pub goid: u64,
    /// Who started it, who started that one, and so on, as far as known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<u64>,
    /// The goroutine that works on the request, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// What is waited for.
    pub place: WaitReason,
    /// Since when, as the server itself says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Nanos>,
    /// For which of the request's entries, where the code shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The device as it is configured, where that is certain: an address, or a name with a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Functions on its stack that show what it does, innermost first: `net.(*netFD).connect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
    /// What the server's own arguments say of the request: id, operation, path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryHead>,
}

impl GoroutineSample {
    /// For which of the request's entries it waits, where its code or its arguments show it.
    pub fn phase(&self) -> Option<Phase> {
        self.phase.or_else(|| self.entry.as_ref()?.phase())
    }

    /// Whether it may wait for a socket. Who queues or resolves a name does so no more, whatever was seen of its end.
    pub fn is_at_a_socket(&self) -> bool {
        !matches!(self.place, WaitReason::Lock | WaitReason::Resolve)
    }

    /// From the goroutine that waits to its oldest known ancestor.
    pub fn lineage(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        std::iter::once(self.goid).chain(self.ancestors.iter().copied())
    }
}
