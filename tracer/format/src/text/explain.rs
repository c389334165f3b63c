//! From a cause and its evidence to the operator's sentence: what happened, and where to look.

use std::fmt::Write;

use tracer_model::{
    Cause, Device, Evidence, FillingBuffer, Hang, LostEntries, Nanos, Op, Outcome, Refusal, Stall,
    Transport,
};

use super::{count, seconds};

/// `include/uapi/asm-generic/errno.h`: more than fits into a datagram.
const EMSGSIZE: i32 = 90;

/// Why a device held up a request.
pub fn hang(hang: &Hang) -> String {
    let address = &hang.device.address;
    let Some(first) = hang.first_stall() else {
        return format!("{address} held up the request.");
    };
    let mut text = queue(first);
    text.push_str(&match other_device(&hang.device) {
        Some(other) => other,
        None => slow_reader(hang).unwrap_or_else(|| cause(address, first)),
    });
    text.push_str(&riddle(first));
    if let Some(status) = hang.request.status.filter(|status| *status >= 500) {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " The server answered this request with HTTP {status}: without a working audit device it answers none."
        );
    }
    text
}

fn queue(stall: &Stall) -> String {
    if stall.op == Op::Lock {
        "It waited behind another request that was stalled in the device. ".to_owned()
    } else {
        String::new()
    }
}

/// Who reads slowly does read: every wait for room ended well.
fn slow_reader(hang: &Hang) -> Option<String> {
    let writes = || hang.stalls.iter().filter(|stall| stall.op == Op::Write);
    let reads = writes().all(|stall| stall.outcome == Some(Outcome::Ok));
    let closed: Nanos = writes().map(|stall| stall.duration).sum();
    (hang.cause() == Cause::ZeroWindow && reads && closed > 0).then(|| {
        format!(
            "The host of {} acknowledges, but its window was closed for {:.2} s: the log process there reads too slowly (too busy, or its machine is swapping).",
            hang.device.address,
            seconds(closed)
        )
    })
}

/// Of those whose sockets are not their own, no more is known than that their code waits.
fn other_device(device: &Device) -> Option<String> {
    let look = match device.transport {
        Transport::Tcp | Transport::Udp | Transport::Unix => return None,
        Transport::File => {
            "look at the disk or network file system under it, or at who reads the pipe"
        }
        Transport::Http => "look at the log server and the network to it",
        Transport::Syslog => "look at this host's syslog daemon",
    };
    Some(format!(
        "The server was found waiting in the code of its audit device {device}: {look}."
    ))
}

fn cause(address: &str, stall: &Stall) -> String {
    let evidence = &stall.evidence;
    match stall.cause {
        Cause::LocalDrop => local_drop(address, evidence),
        Cause::SynUnanswered => format!(
            "Nothing answers connection attempts to {address}: the log host is down, gone from the network or accepts no more connections, or a firewall on the way or on it drops the packets."
        ),
        Cause::NoAck => format!(
            "{address} acknowledges nothing any more on an established connection ({}): the log host is gone from the network, or a firewall on the way or on it drops the packets.",
            count(evidence.retransmits, "retransmit")
        ),
        Cause::ZeroWindow => format!(
            "The host of {address} acknowledges, but has closed its window: the log process there does not read (stopped, too busy, or its machine is swapping)."
        ),
        Cause::Refused | Cause::Reset | Cause::Unreachable => {
            failed(address, (stall.cause, stall.errno), evidence)
        }
        Cause::Resolver => format!(
            "The server waited for the look-up of the name of its log server (lately {address}) and sent no connection attempt: look at the name servers in its /etc/resolv.conf."
        ),
        Cause::PeerFull => {
            format!("The process that listens on {address} does not read: look at it on this host.")
        }
        Cause::Unknown => format!(
            "{address} took no more data, and neither a drop, an unanswered retransmit nor a closed window was seen here: look at the log server and the network to it."
        ),
    }
}

/// Why a device failed fast.
pub fn refusal(refusal: &Refusal) -> String {
    let why = (refusal.cause, refusal.errno);
    failed(&refusal.device.address, why, &refusal.evidence)
}

fn failed(address: &str, (cause, errno): (Cause, Option<i32>), evidence: &Evidence) -> String {
    match cause {
        Cause::Refused if evidence.reset => format!(
            "{address} refuses connections with a RST: its host is up, but no log server listens there, or a firewall rejects."
        ),
        Cause::Refused => format!(
            "Connections to {address} are refused by ICMP: a firewall on the way or on the log host rejects them, or for UDP no log server listens there."
        ),
        Cause::Reset => format!(
            "{address} reset an established connection: the log server closed it or was restarted, or a firewall rejects."
        ),
        Cause::Unreachable => format!(
            "The kernel knows no way to {address}, no neighbour answers, or a router or firewall reports it unreachable: look at routes, interfaces and the log host."
        ),
        _ if errno == Some(EMSGSIZE) => format!(
            "An entry is larger than a datagram to {address} can be (EMSGSIZE): this device never gets it. Audit over TCP, or see why the entry is so large."
        ),
        _ => format!("{address} failed at once."),
    }
}

fn local_drop(address: &str, evidence: &Evidence) -> String {
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

/// Why nothing hung before: the answer to the seed's question about `big-kv`.
fn riddle(stall: &Stall) -> String {
    let Some(begin) = stall.evidence.begin.filter(|_| stall.op == Op::Write) else {
        return String::new();
    };
    let silent = stall.evidence.silent_since.map(|since| {
        format!(
            " Nothing more had been acknowledged for {:.2} s, yet nothing hung as long as entries went into the socket's send buffer",
            seconds(stall.start.saturating_sub(since))
        )
    });
    match (silent, begin.queued, begin.limit) {
        (Some(silent), Some(queued), Some(limit)) => {
            format!(
                "{silent}; it was full at this moment ({} of {}).",
                kb(queued.into()),
                kb(limit.into())
            )
        }
        (Some(silent), ..) => format!("{silent}; it was full at this moment."),
        (None, Some(queued), Some(limit)) if queued >= limit => format!(
            " The socket's send buffer is full ({} of {}), so writes wait.",
            kb(queued.into()),
            kb(limit.into())
        ),
        _ => String::new(),
    }
}

/// What an operator can still prevent.
pub fn filling(filling: &FillingBuffer) -> String {
    let soon = filling.full_in().map(|left| match seconds(left) {
        left if left < 1.0 => " At this rate requests hang any moment now.".to_owned(),
        left => format!(" At this rate requests hang in {left:.0} s or a little later."),
    });
    format!(
        "{} has acknowledged no more data for {:.1} s. Entries go into the socket's send buffer, and requests hang once it is full: {} of {} are used, {}/s more.{}",
        filling.device,
        seconds(filling.at.saturating_sub(filling.since)),
        kb(filling.queued),
        kb(filling.limit),
        kb(filling.rate),
        soon.unwrap_or_default()
    )
}

/// What never arrived.
pub fn loss(loss: &LostEntries) -> String {
    let state = match (loss.pending, loss.as_of > loss.closed) {
        (true, true) => {
            "were not acknowledged when the trace ended, on a connection that the server has closed; the kernel was still trying to deliver them"
        }
        (true, false) => {
            "were not acknowledged when the server closed the connection; the kernel was still trying to deliver them when the trace ended"
        }
        (false, _) if loss.answers_dropped => {
            "were never acknowledged before the connection was given up. This host dropped what came back, so they may have arrived all the same: look whether its log has them"
        }
        (false, _) => {
            "were never acknowledged before the connection was given up: look whether its log has them"
        }
    };
    let more = if loss.complete {
        ""
    } else {
        " and some from before the trace began"
    };
    format!(
        "{} for {}, {}{more}, {state}.",
        kb(loss.bytes),
        loss.device,
        count(loss.entries, "whole entry"),
    )
}

fn kb(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}
