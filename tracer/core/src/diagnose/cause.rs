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
    if (operation.errno).is_some_and(|errno| is_unreachable(errno, operation.op)) {
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
        (FailureReason::Timeout, _) if gave_up_early(operation) => Cause::Timeout,
        (FailureReason::Resolver, _) => Cause::Resolver,
        (FailureReason::Status(_), _) => Cause::Rejected,
        (FailureReason::Errno(errno), Transport::File) => of_file(errno),
        (FailureReason::Errno(errno), _) => of_socket(errno, operation.op),
        // The server hides the first error of a file behind that of a second attempt.
        (FailureReason::Unknown | FailureReason::NotTaken, Transport::File)
            if is_full(operation) =>
        {
            Cause::NoSpace
        }
        (FailureReason::Unknown, Transport::File) => Cause::IoError,
        (FailureReason::Timeout | FailureReason::Unknown | FailureReason::NotTaken, _) => {
            Cause::Unknown
        }
    }
}

fn is_full(operation: &Operation) -> bool {
    operation.evidence.free.is_some_and(|free| free < FULL)
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
        errno if is_unreachable(errno, op) => Cause::Unreachable,
        _ => Cause::Unknown,
    }
}

fn is_unreachable(errno: i32, op: Op) -> bool {
    is_network(errno) || (op == Op::Connect && errno::ROUTE.contains(&errno))
}

/// Longer than a round trip around the world, ns: a device that gives up sooner may have been given no time to answer.
const SHORT_TIMEOUT: Nanos = 250_000_000;

/// Whether the server gave up so soon that nothing can be said of the peer.
fn gave_up_early(operation: &Operation) -> bool {
    let patience = operation.patience.max(operation.duration());
    operation.outcome == Some(Outcome::Timeout) && patience < SHORT_TIMEOUT
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
        (_, Transport::Unix | Transport::Syslog) => Cause::PeerFull,
        (Op::Connect, _) if gave_up_early(operation) => Cause::Timeout,
        // It was answered in the end.
        (Op::Connect, _) if operation.outcome == Some(Outcome::Ok) => Cause::SlowPath,
        // Such as a policy of this host, or no local port that is free: no SYN was sent.
        (Op::Connect, _) if operation.outcome == Some(Outcome::Error) => Cause::Unknown,
        // The probes see each SYN that is answered or refused: this one was not.
        (Op::Connect, _) if operation.socket.is_some() => Cause::SynUnanswered,
        // The dial began before the probes were attached: only a sample found it.
        (Op::Connect, _) => Cause::Unknown,
        _ if is_lossy(operation) => Cause::SlowPath,
        _ if is_unacknowledged(evidence) => Cause::NoAck,
        _ if evidence.snapshots().any(Tcp::window_closed) => Cause::ZeroWindow,
        _ if gave_up_early(operation) => Cause::Timeout,
        _ if evidence.acknowledged().is_some_and(|bytes| bytes > 0) => Cause::SlowPath,
        _ => Cause::Unknown,
    }
}

/// TCP's time-outs in a row that one lost segment can make, and its retransmit.
const TIMEOUTS_OF_LOSS: u32 = 2;

/// Between two retransmits where every now and then a segment is lost, ns. Where nothing comes back they are as far apart soon.
const RETRANSMITS_OF_LOSS: Nanos = 500_000_000;

/// A write that went well in the end, while single segments were lost, rather than all for a time.
fn is_lossy(operation: &Operation) -> bool {
    let evidence = &operation.evidence;
    let timeouts = evidence.snapshots().filter_map(|tcp| tcp.timeouts).max();
    let retransmits = Nanos::from(evidence.retransmits_meanwhile);
    operation.outcome == Some(Outcome::Ok)
        && retransmits > 0
        && evidence.acknowledged().is_some_and(|bytes| bytes > 0)
        && timeouts.is_some_and(|timeouts| timeouts <= TIMEOUTS_OF_LOSS)
        && operation.duration() / retransmits <= RETRANSMITS_OF_LOSS
        && !evidence.snapshots().any(Tcp::window_closed)
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

#[cfg(test)]
mod tests {
    use tracer_model::{Actor, Device, Dropped, SocketId};

    use super::*;

    const S: Nanos = 1_000_000_000;
    const MSS: u32 = 1448;

    fn operation(op: Op, outcome: Option<Outcome>, lasted: Nanos, address: &str) -> Operation {
        let device = Device::configured(Transport::Tcp, address);
        Operation {
            socket: Some(SocketId { born: 1, slot: 0 }),
            outcome,
            ..Operation::new(op, device, Actor::default(), (S, S + lasted))
        }
    }

    /// Bytes acknowledged, under way and unsent, and the peer's window.
    fn tcp(una: u32, unacked: u32, unsent: u32, window: u32) -> Tcp {
        Tcp {
            una,
            nxt: una.wrapping_add(unacked),
            end: una.wrapping_add(unacked).wrapping_add(unsent),
            window: Some(window),
            mss: Some(MSS),
            timeouts: Some(0),
            probes: Some(0),
            ..Tcp::default()
        }
    }

    /// Answered late is answered, however long it took, whatever was sent again, over IPv4 and IPv6.
    #[test]
    fn a_connection_attempt_that_is_answered_is_never_unanswered() {
        for address in ["10.0.0.2:1515", "[fd00::2]:1515"] {
            for (lasted, retransmits) in [(S / 3, 0), (S, 1), (7 * S, 3)] {
                for (outcome, expected) in [
                    (Some(Outcome::Ok), Cause::SlowPath),
                    (Some(Outcome::Timeout), Cause::SynUnanswered),
                    (Some(Outcome::Refused), Cause::Refused),
                    (None, Cause::SynUnanswered),
                ] {
                    let mut connect = operation(Op::Connect, outcome, lasted, address);
                    connect.evidence.syn_retransmits = retransmits;
                    assert_eq!(cause_of(&connect), expected, "{outcome:?} {address}");
                }
            }
        }
    }

    /// What this host was seen to drop is a cause; so is what a route says, `prohibit` or `blackhole`.
    #[test]
    fn a_connection_attempt_that_fails_with_another_error_is_not_unanswered() {
        for (errno, expected, dropped) in [
            (1, Cause::Unknown, Cause::LocalDrop),
            (99, Cause::Unknown, Cause::LocalDrop),
            (13, Cause::Unreachable, Cause::Unreachable),
            (22, Cause::Unreachable, Cause::Unreachable),
            (113, Cause::Unreachable, Cause::Unreachable),
        ] {
            let mut connect = operation(Op::Connect, Some(Outcome::Error), 0, "10.0.0.2:1515");
            connect.errno = Some(errno);
            assert_eq!(cause_of(&connect), expected, "{errno}");
            let rule = Dropped {
                reason: "NETFILTER_DROP".to_owned(),
                incoming: false,
                beyond: false,
            };
            connect.evidence.drops.insert(rule, 1);
            assert_eq!(cause_of(&connect), dropped, "{errno}");
        }
    }

    #[test]
    fn a_full_window_that_drains_is_the_paths_and_a_closed_one_the_readers() {
        use Outcome::{Ok, Timeout};
        let wide = 65_535;
        let full = |una| tcp(una, wide - 100, 300_000, wide);
        let closed = |una| tcp(una, 0, 300_000, 0);
        let last_segment = |una| tcp(una, MSS, 300_000, MSS);
        for (name, begin, end, outcome, expected) in [
            ("drains", full(0), full(400_000), Some(Ok), Cause::SlowPath),
            (
                "drains too slowly",
                full(0),
                full(80_000),
                Some(Timeout),
                Cause::SlowPath,
            ),
            (
                "wraps",
                full(u32::MAX - 9),
                full(70_000),
                Some(Ok),
                Cause::SlowPath,
            ),
            (
                "closed",
                closed(0),
                closed(0),
                Some(Timeout),
                Cause::ZeroWindow,
            ),
            (
                "closed, then opened",
                closed(0),
                full(400_000),
                Some(Ok),
                Cause::ZeroWindow,
            ),
            (
                "full, then closed",
                full(0),
                closed(wide),
                Some(Timeout),
                Cause::ZeroWindow,
            ),
            (
                "trickles",
                last_segment(0),
                last_segment(9 * MSS),
                Some(Ok),
                Cause::ZeroWindow,
            ),
            // Nothing moved, and nothing shows why.
            ("stands", full(0), full(0), Some(Timeout), Cause::Unknown),
        ] {
            let mut write = operation(Op::Write, outcome, 2 * S, "10.0.0.2:1515");
            (write.evidence.begin, write.evidence.end) = (Some(begin), Some(end));
            assert_eq!(cause_of(&write), expected, "{name}");
        }
    }

    /// One glimpse of a full window shows nothing yet.
    #[test]
    fn of_a_wait_that_goes_on_only_a_closed_window_shows_a_cause() {
        for (window, expected) in [(65_535, Cause::Unknown), (MSS, Cause::ZeroWindow)] {
            let mut write = operation(Op::Write, None, S / 10, "10.0.0.2:1515");
            write.evidence.begin = Some(tcp(0, window, 300_000, window));
            assert_eq!(cause_of(&write), expected);
        }
    }

    /// An attempt that the limit of its entry ended is as long as it happens to be: one before it shows the device's time-out.
    #[test]
    fn only_a_short_time_out_of_the_device_is_the_cause() {
        for (lasted, patience, expected) in [
            (S / 50, 0, Cause::Timeout),
            (S / 50, S / 10, Cause::Timeout),
            (S / 50, 2 * S, Cause::SynUnanswered),
            (2 * S, 0, Cause::SynUnanswered),
        ] {
            let given_up = Some(Outcome::Timeout);
            let mut connect = operation(Op::Connect, given_up, lasted, "10.0.0.2:1515");
            connect.patience = patience;
            assert_eq!(cause_of(&connect), expected, "{lasted} {patience}");
            connect.reported = Some(FailureReason::Timeout);
            let is_short = expected == Cause::Timeout;
            assert_eq!(cause_of(&connect) == Cause::Timeout, is_short);
        }
    }

    /// A syslog device gives up after 20 ms: that its daemon does not read is the cause all the same.
    #[test]
    fn a_unix_socket_without_room_is_its_peers_however_short_the_time_out_is() {
        for (transport, expected) in [
            (Transport::Unix, Cause::PeerFull),
            (Transport::Syslog, Cause::PeerFull),
            (Transport::Tcp, Cause::Timeout),
        ] {
            let mut write = operation(Op::Write, Some(Outcome::Timeout), S / 50, "/run/log");
            write.device = Device::configured(transport, "/run/log");
            assert_eq!(cause_of(&write), expected, "{transport:?}");
        }
    }

    /// Retransmits now and then, and all arrives; or further and further apart, and nothing does for a time.
    #[test]
    fn a_path_that_loses_packets_is_not_one_that_is_cut() {
        for (lasted, retransmits, timeouts, outcome, expected) in [
            (2 * S, 9, 1, Some(Outcome::Ok), Cause::SlowPath),
            (2 * S, 9, 0, Some(Outcome::Ok), Cause::SlowPath),
            (5 * S, 4, 3, Some(Outcome::Ok), Cause::NoAck),
            (5 * S, 4, 1, Some(Outcome::Ok), Cause::NoAck),
            (2 * S, 4, 4, Some(Outcome::Timeout), Cause::NoAck),
        ] {
            let mut write = operation(Op::Write, outcome, lasted, "10.0.0.2:1515");
            let seen = |una| Tcp {
                timeouts: Some(timeouts),
                ..tcp(una, 30_000, 300_000, 65_535)
            };
            write.evidence.retransmits = retransmits;
            write.evidence.retransmits_meanwhile = retransmits;
            (write.evidence.begin, write.evidence.end) = (Some(seen(0)), Some(seen(90_000)));
            assert_eq!(
                cause_of(&write),
                expected,
                "{lasted} {retransmits} {timeouts}"
            );
        }
    }
}
