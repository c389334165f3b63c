//! The words for causes: one table, [`words`].

mod at_once;

use tracer_model::{Cause, Evidence, Nanos, Op, Outcome, Stall, Transport};

use self::at_once::{
    device_name, failed_at_once, io_error, looked_up, no_space, not_found, rejected, timeout,
    too_large, unresolved,
};
use super::{bytes, count, duration, seconds};

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
    /// What to do, in a sentence or two; `docs/remedies.md` has more.
    remedy: &'static str,
    /// The sentence for a hang.
    hang: fn(&Failure<'_>) -> String,
    /// The sentence for a device that failed immediately.
    refusal: fn(&Failure<'_>) -> String,
}

/// What to do, where a firewall may be meant to block the log server.
macro_rules! or_reject {
    ($remedy:literal) => {
        concat!(
            $remedy,
            " If a firewall has to block it, use REJECT, not DROP, and keep another audit device working: entries then fail immediately instead of blocking requests."
        )
    };
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn words(cause: Cause) -> Words {
    match cause {
        Cause::SynUnanswered => Words {
            seen: "a connection attempt, and no answer",
            hint: "nothing answers: is the log server up, does a firewall drop the packets?",
            remedy: or_reject!("Bring the log server, or the way to it, back."),
            hang: syn_unanswered,
            refusal: failed_at_once,
        },
        Cause::NoAck => Words {
            seen: "data was sent, sent again, and not acknowledged",
            hint: "what is sent is not acknowledged: network, firewall, log server's host",
            remedy: or_reject!("Bring the log server's host, or the way to it, back."),
            hang: no_ack,
            refusal: failed_at_once,
        },
        Cause::ZeroWindow => Words {
            seen: "the log process does not read, or too slowly: its receive window is closed",
            hint: "the log process does not read, or too slowly",
            remedy: "Restart the log process or relieve it. A relay on this host that buffers to disk keeps a slow log server from blocking requests.",
            hang: zero_window,
            refusal: failed_at_once,
        },
        Cause::LocalDrop => Words {
            seen: "this host itself dropped the packets",
            hint: "this host drops the packets: look at its firewall and interfaces",
            remedy: or_reject!("Remove what drops the log server's packets on this host."),
            hang: local_drop,
            refusal: failed_at_once,
        },
        Cause::Refused => Words {
            seen: "connections are refused by a RST or by ICMP: nothing listens there, or a firewall rejects them",
            hint: "nothing listens there, or connections are rejected",
            remedy: "Start the log server. If it runs, correct the device's address, or the firewall that rejects. Vault connects again with its next entry: do not restart it.",
            hang: refused,
            refusal: refused,
        },
        Cause::Reset => Words {
            seen: "a RST on an established connection",
            hint: "the log server's end reset the connection",
            remedy: "Find out why the log server ends connections: restarts, limits, idle time-outs. Vault connects again with its next entry: do not restart it.",
            hang: reset,
            refusal: reset,
        },
        Cause::Unreachable => Words {
            seen: "no route, no neighbour, interface down, or ICMP unreachable",
            hint: "no route to the log server, or no neighbour answers",
            remedy: "Restore the route, the interface or the log server's host.",
            hang: unreachable,
            refusal: unreachable,
        },
        Cause::Resolver => Words {
            seen: "the wait was for the look-up of the device's name",
            hint: "the device's name is being looked up: look at the name server",
            remedy: "Restore the name servers. With an IP address, or a name in /etc/hosts, no entry waits for DNS.",
            hang: resolver,
            refusal: unresolved,
        },
        Cause::PeerFull => Words {
            seen: "a Unix socket whose reader does not read",
            hint: "the process that listens on the Unix socket does not read",
            remedy: "Restart the process that reads the Unix socket, or relieve it.",
            hang: peer_full,
            refusal: peer_full,
        },
        Cause::SlowPath => Words {
            seen: "all is acknowledged and read, but later than it is written: a long, narrow or lossy path",
            hint: "the path to the log server is too slow or loses too much",
            remedy: "Audit to a relay on this host or near it that forwards over the slow path. Where answers to list requests are huge, set the device's elide_list_responses.",
            hang: slow_path,
            refusal: failed_at_once,
        },
        Cause::NoSpace => Words {
            seen: "no space left on the file system of an audit file",
            hint: "the file system of the audit file is full",
            remedy: "Make room on its file system or raise the quota. A volume of its own and rotation by size (rename, then SIGHUP) keep it from filling up.",
            hang: no_space,
            refusal: no_space,
        },
        Cause::IoError => Words {
            seen: "the file system of an audit file gave an error",
            hint: "the audit file cannot be written",
            remedy: "Mend the disk, the mount or the permissions of the audit file, then send SIGHUP: the server opens it anew.",
            hang: io_error,
            refusal: io_error,
        },
        Cause::TooLarge => Words {
            seen: "an entry larger than a datagram",
            hint: "an entry is larger than a datagram",
            remedy: "Audit over TCP, a Unix stream or to a file instead. Where answers to list requests are huge, set the device's elide_list_responses.",
            hang: too_large,
            refusal: too_large,
        },
        Cause::NotFound => Words {
            seen: "a Unix socket or a directory that does not exist",
            hint: "the path of the device does not exist",
            remedy: "Start the process that makes the socket, or restore the directory of the audit file and send SIGHUP.",
            hang: not_found,
            refusal: not_found,
        },
        Cause::Rejected => Words {
            seen: "an HTTP server answered with another status than 2xx",
            hint: "the log server answers with an error",
            remedy: "Mend what the log server complains of: credentials (401, 403), the device's URL (404, 3xx), limits of size (413) or rate (429), or itself (5xx).",
            hang: rejected,
            refusal: rejected,
        },
        Cause::Timeout => Words {
            seen: "the device's own time-out passed before anything could be seen of its peer",
            hint: "the device's write_timeout is too short",
            remedy: "Raise the device's write_timeout to 250 ms or more, or leave it out (2 s).",
            hang: timeout,
            refusal: timeout,
        },
        Cause::Unknown => Words {
            seen: "no cause could be shown",
            hint: "the cause is not known yet",
            remedy: "Look at the log server and the network between while it lasts, and keep this trace.",
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

/// What to do.
pub fn remedy(cause: Cause) -> &'static str {
    words(cause).remedy
}

/// Why a device blocked a request.
pub(super) fn hang(cause: Cause, failure: &Failure<'_>) -> String {
    (words(cause).hang)(failure)
}

/// Why a device failed immediately.
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
    if drop.beyond {
        return format!(
            "This host drops what the server sends to {address} beyond the server's network namespace ({}, kernel reason {}): look at the policies of the container network, and in the host's namespace at nft list ruleset and tc filter show dev VETH ingress.",
            count(number, "packet"),
            drop.reason
        );
    }
    let (what, hook) = if drop.incoming {
        ("what comes back from", "INPUT")
    } else {
        ("what it sends to", "OUTPUT")
    };
    let firewall = format!("the {hook} rules of its firewall (nft list ruleset, iptables -S)");
    let rest = "interfaces, routes and traffic control (ip -s link, tc -s qdisc)";
    let look = match drop.reason.as_str() {
        "NETFILTER_DROP" => format!("look at {firewall}"),
        // Kernels before 5.17 give no reason: a rule is known only where the kernel's symbols can be read.
        "NOT_SPECIFIED" => format!("look at {firewall}, its {rest}"),
        _ => format!("look at its {rest}"),
    };
    format!(
        "This host itself drops {what} {address} ({}, kernel reason {}): {look}.",
        count(number, "packet"),
        drop.reason
    )
}

fn refused(failure: &Failure<'_>) -> String {
    let address = failure.address;
    if is_local(failure) {
        return format!(
            "No process listens on {} on this host any more.",
            device_name(failure)
        );
    }
    if failure.evidence.reset {
        format!(
            "{address} refuses connections with a RST: its host is up, but no log server listens there, or a firewall rejects them."
        )
    } else if failure.transport == Transport::Udp {
        format!(
            "ICMP refuses what is sent to {address}: no log server listens there, or a firewall on the way or on the log host rejects it."
        )
    } else {
        format!(
            "ICMP refuses connections to {address}: a firewall on the way or on the log host rejects them."
        )
    }
}

/// A Unix socket.
fn is_local(failure: &Failure<'_>) -> bool {
    matches!(failure.transport, Transport::Unix | Transport::Syslog)
}

fn reset(failure: &Failure<'_>) -> String {
    if is_local(failure) {
        return format!(
            "The process that listened on {} closed the connection or was restarted.",
            device_name(failure)
        );
    }
    format!(
        "{} reset an established connection: the log server closed it or was restarted, or a firewall rejects its packets.",
        failure.address
    )
}

fn unreachable(failure: &Failure<'_>) -> String {
    format!(
        "This host has no route to {}, no neighbour answers for it, or a router or firewall reports it unreachable: look at routes (ip route, ip neigh), interfaces and the log host.",
        failure.address
    )
}

fn resolver(failure: &Failure<'_>) -> String {
    let mut stalls = failure.stalls.iter();
    let lookup = stalls.find_map(|stall| stall.evidence.lookup.as_ref());
    let shown = lookup.and_then(looked_up);
    let shown = shown.map_or_else(String::new, |shown| {
        format!(" The look-up failed: {shown}.")
    });
    format!(
        "The server waited for the look-up of its log server's name (last address: {}) and made no connection attempt: look at the name servers in its /etc/resolv.conf.{shown}",
        failure.address
    )
}

fn peer_full(failure: &Failure<'_>) -> String {
    format!(
        "The process that listens on {} does not read: look at it on this host.",
        failure.address
    )
}

fn slow_path(failure: &Failure<'_>) -> String {
    let address = failure.address;
    let stall = failure.stalls.iter().find(|s| s.cause == Cause::SlowPath);
    let Some(stall) = stall else {
        return format!("The path to {address} is too slow or too lossy for what is written.");
    };
    let took = seconds(stall.duration);
    if stall.op == Op::Connect {
        let again = match stall.evidence.syn_retransmits {
            0 => String::new(),
            several => format!(" and {}", count(several, "SYN retransmit")),
        };
        return format!(
            "{address} answered a connection attempt only after {took:.2} s{again}: the path to it is long or loses packets, or its host answers late."
        );
    }
    let evidence = &stall.evidence;
    let mut facts = Vec::new();
    if let Some(acknowledged) = evidence.acknowledged() {
        let rate = f64::from(acknowledged) / took.max(1e-9);
        facts.push(format!(
            "{} acknowledged in {took:.2} s, {}/s",
            bytes(acknowledged.into()),
            bytes(rate as u64)
        ));
    }
    if let Some(srtt) = evidence.snapshots().filter_map(|tcp| tcp.srtt).max() {
        facts.push(format!("round trip {}", duration(srtt)));
    }
    facts.push(count(evidence.retransmits, "retransmit"));
    format!(
        "{address} acknowledges and reads, but the path to it is too slow or too lossy for what is written ({}).",
        facts.join(", ")
    )
}

fn unknown(failure: &Failure<'_>) -> String {
    let only_queued = failure.stalls.iter().all(|stall| stall.op == Op::Lock);
    if only_queued && !failure.stalls.is_empty() {
        return "Nothing shows what that one waited for there: it may have had no processor to run on.".to_owned();
    }
    format!(
        "{} took no more data, and this host saw no drop, no unanswered retransmit and no closed window: look at the log server and the network to it.",
        failure.address
    )
}

#[cfg(test)]
mod tests;
