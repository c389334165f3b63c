//! From a cause and its evidence to the operator's sentence: what happened, and where to look.

use std::fmt::Write;

use tracer_model::{
    Cause, Device, FillingBuffer, Forwarded, Hang, LostEntries, Nanos, Op, Refusal, Stall,
    Transport,
};

use super::{
    cause::{self, Failure},
    count, duration,
    limits::limits,
    seconds,
};

/// What is waited for, as a noun.
pub fn operation(op: Op) -> &'static str {
    match op {
        Op::Connect => "a connection attempt",
        Op::Write => "a write",
        Op::Resolve => "a name look-up",
        Op::Lock => "the queue behind another request",
    }
}

/// Why a device blocked a request.
pub fn hang(hang: &Hang) -> String {
    let address = &hang.device.address;
    let Some(first) = hang.first_stall() else {
        return format!("{address} blocked the request.");
    };
    let failure = Failure {
        address,
        evidence: &first.evidence,
        errno: first.errno,
        status: None,
        transport: hang.device.transport,
        duration: first.duration,
        stalls: &hang.stalls,
    };
    let mut text = queue(first);
    text.push_str(&match other_device(&hang.device, first.cause) {
        Some(other) => other,
        None => cause::hang(first.cause, &failure),
    });
    text.push_str(&send_buffer(first));
    text.push_str(&limits(hang));
    // Writing to a String cannot fail.
    if let Some(gone) = hang.request.client_gone {
        let after = seconds(gone.saturating_sub(hang.request.start));
        let _ = write!(
            text,
            " The client closed its connection after {after:.2} s; the server went on with the request."
        );
    }
    if let Some(status) = hang.request.status.filter(|status| *status >= 500) {
        let _ = write!(
            text,
            " The server answered this request with HTTP {status}, as it does when no audit device takes an entry."
        );
    }
    text
}

fn queue(stall: &Stall) -> String {
    if stall.op == Op::Lock {
        "The request queued behind another one that the device blocked. ".to_owned()
    } else {
        String::new()
    }
}

/// Of a device without a socket, or whose socket shows nothing, only the wait of its code is known.
fn other_device(device: &Device, cause: Cause) -> Option<String> {
    let look = match device.transport {
        Transport::Http if cause != Cause::Unknown => return None,
        Transport::Tcp | Transport::Udp | Transport::Unix => return None,
        Transport::File => {
            "look at the disk or network file system under it, or at the reader of the pipe"
        }
        Transport::Http => "look at the log server and the network to it",
        Transport::Syslog => "look at this host's syslog daemon",
    };
    Some(format!(
        "The server waited in the code of its audit device {device}: {look}."
    ))
}

/// Why a device failed immediately.
pub fn refusal(refusal: &Refusal) -> String {
    if refusal.inferred && refusal.cause == Cause::Unknown {
        return format!(
            "Another audit device took the entries of this request and {} did not. Nothing was seen to fail: look for the reason in the server's own log.",
            refusal.device
        );
    }
    let failure = Failure {
        address: &refusal.device.address,
        evidence: &refusal.evidence,
        errno: refusal.errno,
        status: refusal.http_status,
        transport: refusal.device.transport,
        duration: refusal.duration,
        stalls: &[],
    };
    cause::refusal(refusal.cause, &failure)
}

/// Silence that is no mere round trip, ns.
const WORTH_SAYING: Nanos = 500_000_000;

/// Why nothing hung before, although nothing was acknowledged: the send buffer took the entries. What the kernel counts as
/// queued is more than the data, and may be above the limit.
fn send_buffer(stall: &Stall) -> String {
    let Some(begin) = stall.evidence.begin.filter(|_| stall.op == Op::Write) else {
        return String::new();
    };
    let is_full = begin
        .queued
        .is_some_and(|queued| begin.limit.is_some_and(|limit| queued >= limit));
    let limit = begin.limit.filter(|_| is_full);
    let size = limit.map(|limit| format!(" ({})", kb(limit.into())));
    let size = size.unwrap_or_default();
    let silent = stall.evidence.silent_since;
    let silent = silent.map(|since| stall.start.saturating_sub(since));
    match silent.filter(|silent| *silent >= WORTH_SAYING) {
        Some(silent) => format!(
            " Nothing had been acknowledged for {:.2} s by then: until the socket's send buffer{size} was full, requests went on.",
            seconds(silent)
        ),
        None if is_full => {
            format!(" The socket's send buffer{size} was full, so the write waited.")
        }
        None => String::new(),
    }
}

/// What an operator can still prevent.
pub fn filling(filling: &FillingBuffer) -> String {
    let soon = filling.full_in().map(|left| match seconds(left) {
        left if left < 1.0 => {
            " At this rate requests are blocked within about a second.".to_owned()
        }
        left => format!(" At this rate requests are blocked in about {left:.0} s."),
    });
    format!(
        "{} has acknowledged nothing for {:.1} s. Entries collect in the socket's send buffer, and requests are blocked once it is full: {} of {} are used, growing by {}/s.{}",
        filling.device,
        seconds(filling.at.saturating_sub(filling.since)),
        kb(filling.queued),
        kb(filling.limit),
        kb(filling.rate),
        soon.unwrap_or_default()
    )
}

/// `forwarded to 10.0.0.1:8201, waited 8.00 s: trace the active node`
pub fn forwarded(forwarded: &Forwarded) -> String {
    let to = forwarded.to.as_deref().unwrap_or("the active node");
    let about = if forwarded.uncertainty > 0 {
        "about "
    } else {
        ""
    };
    let waited = duration(forwarded.duration);
    format!("forwarded to {to}, waited {about}{waited}: trace the active node")
}

/// Entries that a device did not take in an incident: where to look for them. `None` if there are none, as far as is known.
/// `at_least`: there may have been more.
pub fn untaken(
    device: &str,
    (failed, missed): (Option<u64>, Option<u64>),
    at_least: bool,
) -> Option<String> {
    let least = if at_least { "At least " } else { "" };
    let missed = missed.filter(|missed| *missed > 0).map(|missed| {
        format!(
            "{least}{} of answered requests never reached {device}: look in another audit device's log.",
            count(missed, "entry")
        )
    });
    let failed = failed.filter(|failed| *failed > 0).map(|failed| {
        format!(
            "{least}{} could not be written to {device}.",
            count(failed, "entry")
        )
    });
    match (missed, failed) {
        (None, None) => None,
        (missed, failed) => {
            let sentences: Vec<_> = failed.into_iter().chain(missed).collect();
            Some(sentences.join(" "))
        }
    }
}

/// Nothing to report.
pub const ALL_WELL: &str = "No audit device blocked or failed a request";

/// Of a device: for how many requests, without a hang.
pub fn failed_for(requests: u64) -> String {
    format!("failed immediately for {}", count(requests, "request"))
}

/// Requests that the server answered with 5xx although no device was seen failing. `None` if there are none.
pub fn unexplained(failed: u64, requests: u64) -> Option<String> {
    let verb = if failed == 1 { "was" } else { "were" };
    (failed > 0).then(|| {
        format!(
            "{failed} of {} {verb} answered with HTTP 5xx, and no audit device was seen failing: look at the server's own log.",
            count(requests, "request")
        )
    })
}

/// Where to look for entries that were not acknowledged, if at all.
pub const MAY_LACK: &str = "its log may lack them, look in another audit device's log";

/// What never arrived.
pub fn loss(loss: &LostEntries) -> String {
    let (verb, state) = match (loss.pending, loss.as_of > loss.closed) {
        (true, true) => (
            "had not acknowledged",
            "when the trace ended. The server has closed the connection; the kernel was still retransmitting".to_owned(),
        ),
        (true, false) => (
            "had not acknowledged",
            "when the server closed the connection; when the trace ended, the kernel was still retransmitting".to_owned(),
        ),
        (false, _) if loss.answers_dropped => (
            "never acknowledged",
            "before the connection ended. This host dropped the answers, so they may have arrived: look in its log first, then in another audit device's log".to_owned(),
        ),
        (false, _) => (
            "never acknowledged",
            format!("before the connection ended: {MAY_LACK}"),
        ),
    };
    let more = if loss.complete {
        ""
    } else {
        " and some whose writes were not seen"
    };
    format!(
        "{} {verb} {} ({}){more} {state}.",
        loss.device,
        count(loss.entries, "whole entry"),
        kb(loss.bytes),
    )
}

fn kb(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}
