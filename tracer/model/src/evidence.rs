//! What was seen of a connection's packets, and of TCP itself, around an operation.

use std::collections::BTreeMap;

use crate::{device_failure::FailedLookup, socket::Tcp, time::Nanos};

/// A packet that this host's kernel dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// `enum skb_drop_reason`, without `SKB_DROP_REASON_`.
    pub reason: String,
    /// Whether it had come from the network, rather than from this host.
    pub incoming: bool,
    /// Whether it had left the server's network namespace: the far end of its veth, a bridge or a router of this host dropped it.
    pub beyond: bool,
}

/// What this host did when it dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    /// A rule of its own says so.
    Rule,
    /// There is no route, or no neighbour answers.
    NoWay,
    /// It sent them nowhere, and its kernel gives no reason: no carrier, an older kernel.
    Unnamed,
    /// TCP's own house-keeping, or something that no cause can be made of.
    Other,
}

impl Dropped {
    /// Reasons as `include/net/dropreason-core.h` explains them.
    pub fn kind(&self) -> DropKind {
        match self.reason.as_str() {
            "NETFILTER_DROP" | "XDP" | "SOCKET_FILTER" | "BPF_CGROUP_EGRESS" | "TC_EGRESS"
            | "TC_INGRESS" | "IPV6_BPF_DROP" | "XFRM_POLICY" => DropKind::Rule,
            "IP_OUTNOROUTES" | "IP_INNOROUTES" | "DEV_READY" => DropKind::NoWay,
            reason if reason.starts_with("NEIGH_") => DropKind::NoWay,
            "NOT_SPECIFIED" if !self.incoming => DropKind::Unnamed,
            _ => DropKind::Other,
        }
    }
}

/// How many packets were dropped, each way.
pub type Drops = BTreeMap<Dropped, u32>;

/// What shows why an operation waited. Counts of zero say that none was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// SYNs sent again.
    pub syn_retransmits: u32,
    /// Data segments sent again.
    pub retransmits: u32,
    /// Of these, those sent after the waiting began.
    pub retransmits_meanwhile: u32,
    /// Packets that this host's kernel dropped.
    pub drops: Drops,
    /// Whether a RST arrived.
    pub reset: bool,
    /// The connection when the waiting began.
    pub begin: Option<Tcp>,
    /// The connection when it ended.
    pub end: Option<Tcp>,
    /// Since when the peer had acknowledged nothing more, when the waiting began.
    pub silent_since: Option<Nanos>,
    /// Of a file: bytes free in its file system.
    pub free: Option<u64>,
    /// The look-up of the device's name that failed.
    pub lookup: Option<FailedLookup>,
    /// Functions on the stack of the goroutine that waited, innermost first: those that show the wait.
    pub frames: Vec<String>,
}

impl Evidence {
    /// Packets dropped in one way.
    pub fn dropped(&self, kind: DropKind) -> u32 {
        let of_kind = self
            .drops
            .iter()
            .filter(|(dropped, _)| dropped.kind() == kind);
        of_kind.map(|(_, count)| count).sum()
    }

    /// The reason for which most packets were dropped, of the reasons that show a cause.
    pub fn main_drop(&self) -> Option<&Dropped> {
        let known = self
            .drops
            .iter()
            .filter(|(d, _)| d.kind() != DropKind::Other);
        known
            .max_by_key(|(_, count)| **count)
            .map(|(dropped, _)| dropped)
    }

    /// Bytes that were acknowledged during the waiting; `None` where the connection was not seen at both ends of it.
    pub fn acknowledged(&self) -> Option<u32> {
        let (begin, end) = (self.begin?, self.end?);
        // Sequence numbers wrap; backwards is another connection.
        let bytes = end.una.wrapping_sub(begin.una);
        (bytes < 1 << 31).then_some(bytes)
    }

    /// The connection at either end of the waiting.
    pub fn snapshots(&self) -> impl Iterator<Item = &Tcp> {
        self.begin.iter().chain(&self.end)
    }
}
