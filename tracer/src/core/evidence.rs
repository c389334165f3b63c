//! What was seen of a connection's packets, and of TCP itself, around an operation.

use std::collections::{BTreeMap, VecDeque};

use crate::event::{Nanos, Tcp};

/// A write that meets a full buffer was doomed earlier: what happened to the socket's packets this
/// long before it began to wait, ns, still says why. TCP's back-off has reached several seconds by then.
const LOOK_BACK: Nanos = 10_000_000_000;

/// Marks kept per socket; with back-off, many minutes of them.
const MARKS: usize = 64;

/// A packet that this host's kernel dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// `enum skb_drop_reason`, without `SKB_DROP_REASON_`.
    pub reason: String,
    /// Whether it had come from the network, rather than from this host.
    pub incoming: bool,
}

/// What this host did when it dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    /// A rule of its own says so.
    Rule,
    /// It knows no way, or no neighbour answers.
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
    /// Functions on the stack of who waited, innermost first, as far as they tell something.
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

    /// What most packets that say something were dropped for.
    pub fn main_drop(&self) -> Option<&Dropped> {
        let telling = self
            .drops
            .iter()
            .filter(|(d, _)| d.kind() != DropKind::Other);
        telling
            .max_by_key(|(_, count)| **count)
            .map(|(dropped, _)| dropped)
    }

    /// The connection at either end of the waiting.
    pub fn snapshots(&self) -> impl Iterator<Item = &Tcp> {
        self.begin.iter().chain(&self.end)
    }
}

/// What happened to a socket's packets lately.
#[derive(Debug, Default)]
pub struct Marks {
    marks: VecDeque<(Nanos, Mark)>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A SYN was sent again.
    SynRetransmit,
    /// Data was sent again.
    Retransmit,
    /// A packet was dropped.
    Drop(Dropped),
    /// A RST arrived.
    Reset,
    /// The kernel reported this error; 0 where the server had fetched it already.
    Error(i32),
}

impl Marks {
    /// Remembers it.
    pub fn add(&mut self, at: Nanos, mark: Mark) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((at, mark));
    }

    /// Whether a RST arrived.
    pub fn reset(&self) -> bool {
        self.marks
            .iter()
            .any(|(_, mark)| matches!(mark, Mark::Reset))
    }

    /// Whether a rule of this host dropped what came back.
    pub fn answers_dropped(&self) -> bool {
        self.marks.iter().any(
            |(_, mark)| matches!(mark, Mark::Drop(d) if d.incoming && d.kind() == DropKind::Rule),
        )
    }

    /// The last error that the kernel reported.
    pub fn error(&self) -> Option<i32> {
        self.marks.iter().rev().find_map(|(_, mark)| match mark {
            Mark::Error(errno) => Some(*errno),
            _ => None,
        })
    }

    /// As evidence for a wait that began at `start`.
    pub fn evidence(&self, start: Nanos) -> Evidence {
        let since = start.saturating_sub(LOOK_BACK);
        let mut evidence = Evidence::default();
        for (_, mark) in self.marks.iter().filter(|(at, _)| *at >= since) {
            match mark {
                Mark::SynRetransmit => evidence.syn_retransmits += 1,
                Mark::Retransmit => evidence.retransmits += 1,
                Mark::Drop(drop) => *evidence.drops.entry(drop.clone()).or_default() += 1,
                Mark::Reset => evidence.reset = true,
                Mark::Error(_) => {}
            }
        }
        evidence
    }
}
