//! The cause of one operation's wait or failure. Each rule names what shows it; where nothing does, the cause is unknown.

use tracer_model::{
    Cause, DropKind, Evidence, FailureReason, Nanos, Op, Operation, Outcome, Tcp, Transport,
};

/// `include/uapi/asm-generic/errno.h`
mod errno {
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EPIPE: i32 = 32;
    pub(super) const EMSGSIZE: i32 = 90;
    pub(super) const ECONNRESET: i32 = 104;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const ECONNREFUSED: i32 = 111;
    pub(super) const EDQUOT: i32 = 122;
    /// `ENETDOWN`, `ENETUNREACH`, `EHOSTDOWN`, `EHOSTUNREACH`.
    pub(super) const NETWORK: [i32; 4] = [100, 101, 112, 113];
    /// What routes that say no give beside these (`net/ipv4/fib_semantics.c`, `fib_props`): `EACCES`
    /// for `prohibit`, `EINVAL` for `blackhole`.
    pub(super) const ROUTE: [i32; 2] = [13, 22];
}

/// The cause of one operation's wait or failure.
pub(crate) fn cause_of(operation: &Operation) -> Cause {
    let evidence = &operation.evidence;
    match operation.op {
        Op::Lock => return operation.holder_cause.unwrap_or(Cause::Unknown),
        Op::Resolve => return Cause::Resolver,
        Op::Connect | Op::Write => {}
    }
    if let Some(reason) = operation.reported {
        return reported(operation, reason);
    }
    if operation.errno == Some(errno::EMSGSIZE) {
        return Cause::TooLarge;
    }
    let by_route = |errno| operation.op == Op::Connect && errno::ROUTE.contains(&errno);
    if operation
        .errno
        .is_some_and(|errno| is_network(errno) || by_route(errno))
    {
        return Cause::Unreachable;
    }
    match operation.outcome {
        Some(Outcome::Refused) => Cause::Refused,
        Some(Outcome::Reset) => Cause::Reset,
        // An ICMP error whose code the server had fetched before it could be read.
        Some(Outcome::Error) if operation.errno.is_none() => Cause::Unreachable,
        _ if evidence.dropped(DropKind::Rule) > 0 => Cause::LocalDrop,
        _ if evidence.dropped(DropKind::NoWay) > 0 => Cause::Unreachable,
        _ => soft_error(evidence)
            .or_else(|| (evidence.dropped(DropKind::Unnamed) > 0).then_some(Cause::LocalDrop))
            .unwrap_or_else(|| without_error(operation)),
    }
}

/// Less than a block: no room for an entry.
const FULL: u64 = 4096;

/// The cause of a failure that the server names.
fn reported(operation: &Operation, reason: FailureReason) -> Cause {
    let transport = operation.device.transport;
    match (reason, transport) {
        (FailureReason::Timeout, _) => Cause::Timeout,
        (FailureReason::Resolver, _) => Cause::Resolver,
        (FailureReason::Status(_), _) => Cause::Rejected,
        (FailureReason::Errno(errno), Transport::File) => of_file(errno),
        (FailureReason::Errno(errno), _) => of_socket(errno, operation.op),
        // The server hides the first error of a file behind that of a second attempt.
        (FailureReason::Unknown, Transport::File) => match operation.evidence.free {
            Some(free) if free < FULL => Cause::NoSpace,
            _ => Cause::IoError,
        },
        (FailureReason::Unknown, _) => Cause::Unknown,
    }
}

fn of_file(errno: i32) -> Cause {
    match errno {
        errno::ENOSPC | errno::EDQUOT => Cause::NoSpace,
        errno::ENOENT => Cause::NotFound,
        _ => Cause::IoError,
    }
}

fn of_socket(errno: i32, op: Op) -> Cause {
    match errno {
        errno::ENOENT => Cause::NotFound,
        errno::EAGAIN => Cause::PeerFull,
        errno::EMSGSIZE => Cause::TooLarge,
        errno::EPIPE | errno::ECONNRESET => Cause::Reset,
        errno::ECONNREFUSED => Cause::Refused,
        errno::ETIMEDOUT if op == Op::Connect => Cause::SynUnanswered,
        errno::ETIMEDOUT => Cause::NoAck,
        errno if is_network(errno) => Cause::Unreachable,
        _ => Cause::Unknown,
    }
}

/// Longer than a round trip around the world, ns: a device that gives up sooner may have been given no time to answer.
const SHORT_TIMEOUT: Nanos = 250_000_000;

/// Whether the server gave up so soon that nothing can be said of the peer.
fn gave_up_early(operation: &Operation) -> bool {
    operation.outcome == Some(Outcome::Timeout) && operation.duration() < SHORT_TIMEOUT
}

/// ICMP or routing errors for which TCP does not give up by itself.
fn soft_error(evidence: &Evidence) -> Option<Cause> {
    let errors = || evidence.snapshots().map(|tcp| tcp.soft_error);
    if errors().any(|error| is_network(error) || errno::ROUTE.contains(&error)) {
        return Some(Cause::Unreachable);
    }
    errors()
        .any(|error| error == errno::ECONNREFUSED)
        .then_some(Cause::Refused)
}

fn without_error(operation: &Operation) -> Cause {
    let evidence = &operation.evidence;
    match (operation.op, operation.device.transport) {
        (_, transport) if !transport.is_socket() && operation.socket.is_none() => Cause::Unknown,
        (_, Transport::Unix) => Cause::PeerFull,
        (Op::Connect, _) if gave_up_early(operation) => Cause::Timeout,
        // The probes see each SYN that is answered or refused: this one was not.
        (Op::Connect, _) if operation.socket.is_some() => Cause::SynUnanswered,
        // The dial began before the probes were attached: only a sample found it.
        (Op::Connect, _) => Cause::Unknown,
        _ if is_unacknowledged(evidence) => Cause::NoAck,
        _ if evidence.snapshots().any(Tcp::window_closed) => Cause::ZeroWindow,
        _ if gave_up_early(operation) => Cause::Timeout,
        _ => Cause::Unknown,
    }
}

fn is_network(errno: i32) -> bool {
    errno::NETWORK.contains(&errno)
}

/// Retransmits during a wait that goes on, with back-off, after which nothing is expected to come back.
const UNANSWERED_RETRANSMITS: u32 = 2;

/// Data was sent again and nothing came back. A retransmit that helped leaves no time-outs behind; of a wait that goes on
/// TCP's own count is that of its beginning.
fn is_unacknowledged(evidence: &Evidence) -> bool {
    if evidence.end.is_none() && evidence.retransmits_meanwhile >= UNANSWERED_RETRANSMITS {
        return true;
    }
    let timeouts = evidence.snapshots().filter_map(|tcp| tcp.timeouts).max();
    let unanswered = evidence.snapshots().any(has_unanswered_probes);
    match timeouts {
        Some(timeouts) => timeouts > 0 || unanswered,
        None => evidence.retransmits > 0,
    }
}

/// A closed window that even probes get no answer about any more.
fn has_unanswered_probes(tcp: &Tcp) -> bool {
    tcp.probes.is_some_and(|probes| probes > 2)
}
