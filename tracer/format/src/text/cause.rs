//! The words for causes: one table, [`words`].

use tracer_model::{Cause, Evidence, Nanos, Op, Outcome, Stall, Transport};

use super::{count, seconds};
use crate::errno_name;

/// What is known where a sentence is needed.
pub(super) struct Failure<'a> {
    /// The device's address.
    pub(super) address: &'a str,
    pub(super) evidence: &'a Evidence,
    pub(super) errno: Option<i32>,
    /// Of an HTTP device.
    pub(super) status: Option<u16>,
    pub(super) transport: Transport,
    /// How long the device tried, ns.
    pub(super) duration: Nanos,
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
            refusal: unresolved,
        },
        Cause::PeerFull => Words {
            seen: "a Unix socket whose reader does not read",
            hint: "the reader of the Unix socket does not read",
            hang: peer_full,
            refusal: failed_at_once,
        },
        Cause::NoSpace => Words {
            seen: "no space left on the file system of an audit file",
            hint: "the file system of the audit file is full",
            hang: no_space,
            refusal: no_space,
        },
        Cause::IoError => Words {
            seen: "the file system of an audit file gave an error",
            hint: "the audit file cannot be written",
            hang: io_error,
            refusal: io_error,
        },
        Cause::TooLarge => Words {
            seen: "an entry larger than a datagram",
            hint: "an entry is larger than a datagram",
            hang: too_large,
            refusal: too_large,
        },
        Cause::NotFound => Words {
            seen: "a Unix socket or a directory that does not exist",
            hint: "the path of the device does not exist",
            hang: not_found,
            refusal: not_found,
        },
        Cause::Rejected => Words {
            seen: "an HTTP server answered with another status than 2xx",
            hint: "the log server answers with an error",
            hang: rejected,
            refusal: rejected,
        },
        Cause::Timeout => Words {
            seen: "the device's own time-out passed before anything could be seen of its peer",
            hint: "the device's write_timeout is too short",
            hang: timeout,
            refusal: timeout,
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
    if matches!(failure.transport, Transport::Unix | Transport::Syslog) {
        return format!(
            "Nobody listens on {}: start the process that reads it, on this host.",
            device_name(failure)
        );
    }
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

fn no_space(failure: &Failure<'_>) -> String {
    format!(
        "No space is left for {}{}: make room on its file system, or raise the quota; a volume of its own and rotation (rename, then SIGHUP) keep it from filling up.",
        failure.address,
        by_errno(failure)
    )
}

fn io_error(failure: &Failure<'_>) -> String {
    let look = if failure.errno.is_some() {
        "look at its directory, its owner and its file system"
    } else {
        "the server's log does not name the first error: look at its file system (quota, disk, mount) and its permissions"
    };
    format!(
        "{} cannot be written{}: {look}.",
        failure.address,
        by_errno(failure)
    )
}

fn too_large(failure: &Failure<'_>) -> String {
    format!(
        "An entry is larger than a datagram to {} can be (EMSGSIZE): this device never gets it. Audit over TCP, or see why the entry is so large.",
        failure.address
    )
}

fn not_found(failure: &Failure<'_>) -> String {
    let look = match failure.transport {
        Transport::File => "the directory of the audit file is gone or not mounted",
        _ => "the process that makes the socket does not run, or makes it elsewhere",
    };
    format!(
        "{} does not exist{}: {look}.",
        failure.address,
        by_errno(failure)
    )
}

fn rejected(failure: &Failure<'_>) -> String {
    let status = failure.status.map(|status| format!(" with HTTP {status}"));
    let look = match failure.status {
        Some(300..=399) => {
            "the server follows no redirects for audit entries: set the device's URL to where they lead"
        }
        Some(401 | 403) => "look at the device's headers and the log server's permissions",
        Some(404 | 405) => "look at the path of the device's URL",
        Some(413) => "the log server takes no entry as large as this one",
        Some(429) => "the log server limits how much it takes",
        _ => "look at the log server",
    };
    format!(
        "The log server of {} answered{} and took no entry: {look}.",
        device_name(failure),
        status.unwrap_or_default()
    )
}

fn timeout(failure: &Failure<'_>) -> String {
    format!(
        "The server gave up on {} after {:.3} s, which is no longer than a working log server may need: raise the device's write_timeout; with 0 every entry fails.",
        device_name(failure),
        seconds(failure.duration)
    )
}

/// ` (ENOSPC)`, where there is an errno.
fn by_errno(failure: &Failure<'_>) -> String {
    let name = failure.errno.map(errno_name);
    name.map_or_else(String::new, |name| format!(" ({name})"))
}

/// The address, or the kind of device where there is none.
fn device_name<'a>(failure: &Failure<'a>) -> &'a str {
    match failure.address {
        "" => failure.transport.name(),
        address => address,
    }
}

fn failed_at_once(failure: &Failure<'_>) -> String {
    format!(
        "{} failed at once{}.",
        device_name(failure),
        by_errno(failure)
    )
}

/// A name that could not be resolved, in no time.
fn unresolved(failure: &Failure<'_>) -> String {
    let address = failure.address;
    let named = if address.parse::<std::net::SocketAddr>().is_ok() {
        format!("The name of the log server (lately {address})")
    } else {
        format!("The log server's name {address}")
    };
    format!(
        "{named} cannot be resolved: the name server answers that it does not exist, or with an error. Look at the device's address, and at the name servers in the server's /etc/resolv.conf."
    )
}
