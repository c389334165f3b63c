//! Why an audit device stalled or failed.

/// Why a device stalled or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Connect in progress, SYN (re)sent, nothing came back.
    SynUnanswered,
    /// Data in flight, retransmitted, not acknowledged.
    NoAck,
    /// The peer acknowledges, but its window is closed: its process does not read.
    ZeroWindow,
    /// This host itself dropped the packets.
    LocalDrop,
    /// RST to a SYN, or ICMP port unreachable.
    Refused,
    /// RST on an established connection.
    Reset,
    /// No route, ICMP host or net unreachable, interface down.
    Unreachable,
    /// The wait was for a name look-up.
    Resolver,
    /// A Unix socket whose reader does not read.
    PeerFull,
    /// All is acknowledged and read in the end, but the path is too slow or too lossy for what is written.
    SlowPath,
    /// A file: no space left on its file system, or within a quota.
    NoSpace,
    /// A file: another error of its file system.
    IoError,
    /// An entry larger than the datagram socket takes.
    TooLarge,
    /// A Unix socket or a file's directory that does not exist.
    NotFound,
    /// An HTTP server answered with another status than 2xx.
    Rejected,
    /// The device's own time-out, which is shorter than a healthy device needs.
    Timeout,
    /// None of these could be shown.
    Unknown,
}

impl Cause {
    /// All there are.
    pub const ALL: [Self; 17] = [
        Self::SynUnanswered,
        Self::NoAck,
        Self::ZeroWindow,
        Self::LocalDrop,
        Self::Refused,
        Self::Reset,
        Self::Unreachable,
        Self::Resolver,
        Self::PeerFull,
        Self::SlowPath,
        Self::NoSpace,
        Self::IoError,
        Self::TooLarge,
        Self::NotFound,
        Self::Rejected,
        Self::Timeout,
        Self::Unknown,
    ];

    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::SynUnanswered => "syn_unanswered",
            Cause::NoAck => "no_ack",
            Cause::ZeroWindow => "zero_window",
            Cause::Resolver => "resolver",
            Cause::PeerFull => "peer_full",
            Cause::SlowPath => "slow_path",
            Cause::NoSpace => "no_space",
            Cause::IoError => "io_error",
            Cause::TooLarge => "too_large",
            Cause::NotFound => "not_found",
            Cause::Rejected => "rejected",
            Cause::Timeout => "timeout",
            Cause::LocalDrop => "local_drop",
            Cause::Refused => "refused",
            Cause::Reset => "reset",
            Cause::Unreachable => "unreachable",
            Cause::Unknown => "unknown",
        }
    }
}
