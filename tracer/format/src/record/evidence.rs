//! What shows the cause of a stall.

use serde::{Deserialize, Serialize};

use tracer_model::{self as model, DropKind, Op};

use crate::{Time, WallClock};

/// Counts, and the connection when the stall began and when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evidence {
    /// SYNs that were sent again; of a `connect` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_retransmits: Option<u32>,
    /// Data segments that were sent again; of a `write` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// The connection when the stall began.
    #[serde(flatten)]
    pub begin: TcpState,
    /// The connection when the stall ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_end: Option<TcpState>,
    /// The last acknowledgement before the stall, where nothing was acknowledged any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Time>,
    /// Packets that this host's kernel dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_locally: Option<u32>,
    /// `enum skb_drop_reason` of most of them, without `SKB_DROP_REASON_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<String>,
    /// The way that those packets went: `input` or `output`; `beyond` for what the server sent and this host dropped outside
    /// of the server's network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_hook: Option<String>,
    /// Functions on the stack of the goroutine that waited, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
}

/// A TCP connection at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TcpState {
    /// Sent and not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacked_bytes: Option<u32>,
    /// Written and not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent_bytes: Option<u32>,
    /// Memory that the send queue takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_queue_bytes: Option<u32>,
    /// The limit of that memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_buffer_bytes: Option<u32>,
    /// What the peer would still take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_window_bytes: Option<u32>,
    /// The retransmission time-out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_ns: Option<u64>,
    /// The smoothed round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtt_ns: Option<u64>,
    /// Time since the last acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ack_age_ns: Option<u64>,
    /// Probes of a closed window in a row without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_probes: Option<u32>,
}

impl Evidence {
    /// What was seen during a stall.
    pub fn of(stall: &model::Stall, clock: WallClock) -> Self {
        let evidence = &stall.evidence;
        let state = |tcp: &model::Tcp| TcpState::of(stall.op, tcp);
        let kinds = [DropKind::Rule, DropKind::NoWay, DropKind::Unnamed];
        let dropped: u32 = kinds.iter().map(|kind| evidence.dropped(*kind)).sum();
        let drop = evidence.main_drop();
        let hook = |drop: &model::Dropped| match (drop.incoming, drop.beyond) {
            (true, _) => "input",
            (false, true) => "beyond",
            (false, false) => "output",
        };
        Self {
            syn_retransmits: (stall.op == Op::Connect).then_some(evidence.syn_retransmits),
            retransmits: (stall.op == Op::Write).then_some(evidence.retransmits),
            begin: evidence.begin.as_ref().map(state).unwrap_or_default(),
            at_end: evidence.end.as_ref().map(state),
            silent_since: evidence.silent_since.map(|since| clock.time(since)),
            dropped_locally: (dropped > 0).then_some(dropped),
            drop_reason: drop.map(|drop| drop.reason.clone()),
            drop_hook: drop.map(|drop| hook(drop).to_owned()),
            frames: evidence.frames.clone(),
        }
    }
}

impl TcpState {
    /// What a connection was like during such an operation.
    pub fn of(op: Op, tcp: &model::Tcp) -> Self {
        if op == Op::Connect {
            // Before a connection there is no more: no data, no window, no ACK.
            return Self {
                rto_ns: tcp.rto,
                ..Self::default()
            };
        }
        Self {
            unacked_bytes: Some(tcp.unacked()),
            unsent_bytes: Some(tcp.unsent()),
            send_queue_bytes: tcp.queued,
            send_buffer_bytes: tcp.limit,
            peer_window_bytes: tcp.window,
            rto_ns: tcp.rto,
            srtt_ns: tcp.srtt,
            last_ack_age_ns: tcp.ack_age,
            window_probes: tcp.probes,
        }
    }
}
