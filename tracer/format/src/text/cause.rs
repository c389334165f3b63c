//! The words for causes: one table, [`words`].

use tracer_model::{Cause, Evidence, Nanos, Op, Outcome, Stall};

use super::{count, seconds};

/// `include/uapi/asm-generic/errno.h`: more than fits into a datagram.
const EMSGSIZE: i32 = 90;

/// What is known where a sentence is needed.
pub(super) struct Failure<'a> {
    /// The device's address.
    pub(super) address: &'a str,
    pub(super) evidence: &'a Evidence,
    pub(super) errno: Option<i32>,
    /// All stalls of the hang; none of a refusal.
    pub(super) stalls: &'a [Stall],
}

struct Words {
    /// What shows it, in a few words.
    seen: &'static str,
    /// Where to look, while there is no explanation yet.
    hint: &'static str,
    /// The sentence for a hang.
    hang: fn(&Failure<'_>) -> String,
    /// The sentence for a device that failed at once.
    refusal: fn(&Failure<'_>) -> String,
}

fn words(cause: Cause) -> Words {
    match cause {
        Cause::SynUnanswered => Words {
            seen: "a connection attempt, and nothing that came back",
            hint: "nothing answers: is the log server's host up, does a firewall swallow it?",
            hang: syn_unanswered,
            refusal: failed_at_once,
        },
        Cause::NoAck => Words {
            seen: "data was sent, sent again, and not acknowledged",
            hint: "what is sent is not acknowledged: network, firewall, log server's host",
            hang: no_ack,
            refusal: failed_at_once,
        },
        Cause::ZeroWindow => Words {
            seen: "the log process does not read, or too slowly: no room at the peer",
            hint: "the log server does not read, or too slowly",
            hang: zero_window,
            refusal: failed_at_once,
        },
        Cause::LocalDrop => Words {
            seen: "this host itself dropped the packets",
            hint: "this host itself drops the packets: look at its firewall",
            hang: local_drop,
            refusal: failed_at_once,
        },
        Cause::Refused => Words {
            seen: "nothing listens there: a RST to the SYN, or ICMP port unreachable",
            hint: "nothing listens there",
            hang: refused,
            refusal: refused,
        },
        Cause::Reset => Words {
            seen: "a RST on an established connection",
            hint: "the log server's end reset the connection",
            hang: reset,
            refusal: reset,
        },
        Cause::Unreachable => Words {
            seen: "no route, no neighbour, interface down, or ICMP unreachable",
            hint: "no route, or no neighbour answers",
            hang: unreachable,
            refusal: unreachable,
        },
        Cause::Resolver => Words {
            seen: "the wait was for the look-up of the device's name",
            hint: "the device's name is being looked up: look at the name server",
            hang: resolver,
            refusal: failed_at_once,
        },
        Cause::PeerFull => Words {
            seen: "a Unix socket whose reader does not read",
            hint: "the reader of the Unix socket does not read",
            hang: peer_full,
            refusal: failed_at_once,
        },
        Cause::Unknown => Words {
            seen: "no cause could be shown",
            hint: "the cause cannot be told yet",
            hang: unknown,
            refusal: failed_at_once,
        },
    }
}

/// What shows it, in a few words.
pub fn seen(cause: Cause) -> &'static str {
    words(cause).seen
}

/// Where to look, while there is no explanation yet.
pub fn hint(cause: Cause) -> &'static str {
    words(cause).hint
}

/// Why a device blocked a request.
pub(super) fn hang(cause: Cause, failure: &Failure<'_>) -> String {
    (words(cause).hang)(failure)
}

/// Why a device failed at once.
pub(super) fn refusal(cause: Cause, failure: &Failure<'_>) -> String {
    (words(cause).refusal)(failure)
}

fn syn_unanswered(failure: &Failure<'_>) -> String {
    format!(
        "Nothing answers connection attempts to {}: the log host is down, gone from the network or accepts no more connections, or a firewall on the way or on it drops the packets.",
        failure.address
    )
}

fn no_ack(failure: &Failure<'_>) -> String {
    format!(
        "{} acknowledges nothing any more on an established connection ({}): the log host is gone from the network, or a firewall on the way or on it drops the packets.",
        failure.address,
        count(failure.evidence.retransmits, "retransmit")
    )
}

/// A reader that is only slow reads in the end: every write succeeded.
fn zero_window(failure: &Failure<'_>) -> String {
    let address = failure.address;
    let writes = || failure.stalls.iter().filter(|stall| stall.op == Op::Write);
    let is_slow = writes().all(|stall| stall.outcome == Some(Outcome::Ok));
    let closed: Nanos = writes().map(|stall| stall.duration).sum();
    if is_slow && closed > 0 {
        format!(
            "The host of {address} acknowledges, but its window was closed for {:.2} s: the log process there reads too slowly (too busy, or its machine is swapping).",
            seconds(closed)
        )
    } else {
        format!(
            "The host of {address} acknowledges, but has closed its window: the log process there does not read (stopped, too busy, or its machine is swapping)."
        )
    }
}

fn local_drop(failure: &Failure<'_>) -> String {
    let (address, evidence) = (failure.address, failure.evidence);
    let Some(drop) = evidence.main_drop() else {
        return format!("This host itself drops packets of the connection to {address}.");
    };
    let number = evidence.drops.get(drop).copied().unwrap_or(0);
    let (what, hook) = if drop.incoming {
        ("what comes back from", "INPUT")
    } else {
        ("what it sends to", "OUTPUT")
    };
    let look = if drop.reason == "NETFILTER_DROP" {
        format!("look at the {hook} rules of its firewall (nft list ruleset, iptables -S)")
    } else {
        "look at its interfaces, routes and traffic control (ip -s link, tc -s qdisc)".to_owned()
    };
    format!(
        "This host itself drops {what} {address} ({}, kernel reason {}): {look}.",
        count(number, "packet"),
        drop.reason
    )
}

fn refused(failure: &Failure<'_>) -> String {
    let address = failure.address;
    if failure.evidence.reset {
        format!(
            "{address} refuses connections with a RST: its host is up, but no log server listens there, or a firewall rejects."
        )
    } else {
        format!(
            "Connections to {address} are refused by ICMP: a firewall on the way or on the log host rejects them, or for UDP no log server listens there."
        )
    }
}

fn reset(failure: &Failure<'_>) -> String {
    format!(
        "{} reset an established connection: the log server closed it or was restarted, or a firewall rejects.",
        failure.address
    )
}

fn unreachable(failure: &Failure<'_>) -> String {
    format!(
        "The kernel knows no way to {}, no neighbour answers, or a router or firewall reports it unreachable: look at routes, interfaces and the log host.",
        failure.address
    )
}

fn resolver(failure: &Failure<'_>) -> String {
    format!(
        "The server waited for the look-up of the name of its log server (lately {}) and sent no connection attempt: look at the name servers in its /etc/resolv.conf.",
        failure.address
    )
}

fn peer_full(failure: &Failure<'_>) -> String {
    format!(
        "The process that listens on {} does not read: look at it on this host.",
        failure.address
    )
}

fn unknown(failure: &Failure<'_>) -> String {
    format!(
        "{} took no more data, and neither a drop, an unanswered retransmit nor a closed window was seen here: look at the log server and the network to it.",
        failure.address
    )
}

fn failed_at_once(failure: &Failure<'_>) -> String {
    let address = failure.address;
    if failure.errno == Some(EMSGSIZE) {
        format!(
            "An entry is larger than a datagram to {address} can be (EMSGSIZE): this device never gets it. Audit over TCP, or see why the entry is so large."
        )
    } else {
        format!("{address} failed at once.")
    }
}
