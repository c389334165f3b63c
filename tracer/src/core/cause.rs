//! Why: from what was seen of a stall to its cause, and from the cause to the operator's sentence.
//! Each rule names what shows it; where nothing does, the cause is unknown and says so.

use super::{
    finding::Hang,
    operation::{Evidence, Op, Operation, Outcome},
};
use crate::event::Device;

/// Why a device stalled or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Connect in progress, SYN (re)sent, nothing came back.
    SynUnanswered,
    /// Data in flight, retransmitted, not acknowledged.
    NoAck,
    /// This host itself dropped the packets.
    LocalDrop,
    /// RST to a SYN, or ICMP port unreachable.
    Refused,
    /// RST on an established connection.
    Reset,
    /// No route, ICMP host or net unreachable, interface down.
    Unreachable,
    /// None of these could be shown.
    Unknown,
}

/// `include/uapi/asm-generic/errno.h`.
const NETWORK_ERRNOS: [i32; 4] = [100, 101, 112, 113]; // ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH

impl Cause {
    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::SynUnanswered => "syn_unanswered",
            Cause::NoAck => "no_ack",
            Cause::LocalDrop => "local_drop",
            Cause::Refused => "refused",
            Cause::Reset => "reset",
            Cause::Unreachable => "unreachable",
            Cause::Unknown => "unknown",
        }
    }

    /// The cause of one operation's wait or failure.
    pub fn of(operation: &Operation) -> Self {
        if operation.errno.is_some_and(|e| NETWORK_ERRNOS.contains(&e)) {
            return Cause::Unreachable;
        }
        match operation.outcome {
            Some(Outcome::Refused) => Cause::Refused,
            Some(Outcome::Reset) => Cause::Reset,
            _ if operation.evidence.dropped() > 0 => Cause::LocalDrop,
            _ => Self::of_silence(operation.op, &operation.evidence),
        }
    }

    fn of_silence(op: Op, evidence: &Evidence) -> Self {
        match op {
            // The probes see every SYN that comes to an end: this one did not.
            Op::Connect => Cause::SynUnanswered,
            Op::Write if evidence.retransmits > 0 => Cause::NoAck,
            Op::Write => Cause::Unknown,
        }
    }
}

/// One sentence for the operator: what happened and where to look.
pub fn explain(hang: &Hang) -> String {
    let Device { address, .. } = &hang.device;
    let evidence = hang.stalls.first().map(|stall| &stall.evidence);
    match hang.cause() {
        Cause::LocalDrop => local_drop(address, evidence),
        Cause::SynUnanswered => format!(
            "Nothing answers connection attempts to {address}: the log host is down or gone from the network, or a firewall on the way or on it drops the packets."
        ),
        Cause::NoAck => format!(
            "{address} acknowledges nothing any more on an established connection ({}): the log host is gone from the network, or a firewall on the way or on it drops the packets; the send buffer is full, so writes wait.",
            count(evidence.map_or(0, |e| e.retransmits), "retransmit")
        ),
        Cause::Refused => format!(
            "{address} refuses connections: no log server listens there, or a firewall rejects."
        ),
        Cause::Reset => format!(
            "{address} reset the connection: the log server closed it or was restarted, or a firewall rejects."
        ),
        Cause::Unreachable => format!(
            "This host knows no way to {address}, or a router reports that there is none: look at routes and interfaces."
        ),
        Cause::Unknown => format!(
            "{address} took no more data, and no packet of the connection was seen dropped or retransmitted here: look at the log server, which may not be reading."
        ),
    }
}

fn local_drop(address: &str, evidence: Option<&Evidence>) -> String {
    let reason = evidence
        .and_then(Evidence::drop_reason)
        .unwrap_or("unknown");
    let count = count(evidence.map_or(0, Evidence::dropped), "packet");
    let look = if reason == "NETFILTER_DROP" {
        "look at the firewall rules of this host (nft list ruleset, iptables -S)"
    } else {
        "look at this host's network configuration"
    };
    format!(
        "This host itself drops what it sends to {address} ({count}, kernel reason {reason}): {look}."
    )
}

fn count(number: u32, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}
