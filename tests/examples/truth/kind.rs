//! Kinds of fault, and the causes that a report of each may have.

use serde::{Deserialize, Serialize};

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Nothing.
    Nothing,
    /// The log server resets its connections once: each entry is written again, and arrives.
    OneReset,
    /// A plugin takes its time.
    SlowWork,
    /// The server's host drops what leaves for the log server.
    OutputDropped,
    /// It drops what comes back.
    RepliesDropped,
    /// The far end of its link drops.
    DroppedBeyond,
    /// The log host drops all that arrives.
    ArrivalsDropped,
    /// The log host drops new connections.
    SynsDropped,
    /// A firewall on the log host rejects by RST.
    FirewallReset,
    /// By ICMP port unreachable.
    FirewallIcmpPort,
    /// By ICMP host unreachable.
    FirewallIcmpHost,
    /// The log server has ended.
    NoListener,
    /// A firewall accepts connections and then resets them.
    MadeAndReset,
    /// The interface to the log host is down.
    LinkDown,
    /// The routing table discards.
    Blackhole,
    /// The routing table has no route.
    NoRoute,
    /// The log process does not read.
    ReaderStopped,
    /// It reads too slowly.
    ReaderSlow,
    /// A narrow link.
    PathNarrow,
    /// A first SYN is lost.
    SynLate,
    /// A Unix socket whose reader does not read.
    UnixReaderStopped,
    /// One without a listener.
    UnixNoListener,
    /// One that is not there.
    UnixGone,
    /// Nobody listens on a UDP port.
    UdpNoListener,
    /// An entry that no datagram holds.
    UdpTooLarge,
    /// The syslog daemon does not read.
    SyslogReaderStopped,
    /// Its socket is not there.
    SyslogGone,
    /// An entry that no datagram holds.
    SyslogTooLarge,
    /// The HTTP device's server answers 503.
    HttpStatus,
    /// It has ended.
    HttpNoListener,
    /// It answers late.
    HttpLate,
    /// A file's disk is full.
    DiskFull,
    /// A file's directory is no directory any more.
    DirectoryGone,
    /// A file that is a pipe without a reader.
    PipeFull,
    /// The name server says nothing.
    NameSilent,
    /// It says that there is no such name.
    NameUnknown,
    /// `write_timeout = "0s"`.
    ZeroTimeout,
}

/// Where entries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp,
    /// TCP, by a name.
    Name,
    Unix,
    Udp,
    Http,
    Syslog,
    /// A file system of its own.
    Disk,
    Pipe,
}

impl Place {
    /// Whether the tests' own server has such a device, too.
    pub(crate) fn is_of_every_server(self) -> bool {
        matches!(self, Self::Tcp | Self::Unix)
    }

    /// The `transport` of such a device in a trace. Where the path of syslog's socket can be read, it is that socket's.
    pub(crate) fn transports(self) -> &'static [&'static str] {
        match self {
            Self::Tcp | Self::Name => &["tcp"],
            Self::Unix => &["unix"],
            Self::Udp => &["udp"],
            Self::Http => &["http"],
            Self::Syslog => &["syslog", "unix"],
            Self::Disk | Self::Pipe => &["file"],
        }
    }
}

/// Which cause is right for what was under way: the first of each is the injected one; another is right as well, where chance
/// decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) connect: &'static [&'static str],
    pub(crate) write: &'static [&'static str],
}

impl Expected {
    const fn both(cause: &'static [&'static str]) -> Self {
        Self {
            connect: cause,
            write: cause,
        }
    }

    /// Of a stall's operation; of a refusal, an incident or a wait for the lock either.
    pub(crate) fn of(&self, op: Option<&str>) -> Vec<&'static str> {
        match op {
            Some("connect") if !self.connect.is_empty() => self.connect.to_vec(),
            Some("write") if !self.write.is_empty() => self.write.to_vec(),
            _ => [self.connect, self.write].concat(),
        }
    }
}

/// What reports are of where nothing is broken.
pub(crate) const NONE: &str = "none";

/// The kinds that make each cause.
pub(crate) const CAUSES: [(&str, &[Kind]); 18] = [
    (NONE, &[Kind::Nothing, Kind::OneReset, Kind::SlowWork]),
    (
        "local_drop",
        &[
            Kind::OutputDropped,
            Kind::RepliesDropped,
            Kind::DroppedBeyond,
        ],
    ),
    ("no_ack", &[Kind::ArrivalsDropped]),
    ("syn_unanswered", &[Kind::SynsDropped]),
    ("zero_window", &[Kind::ReaderStopped, Kind::ReaderSlow]),
    (
        "refused",
        &[
            Kind::NoListener,
            Kind::FirewallReset,
            Kind::FirewallIcmpPort,
            Kind::UnixNoListener,
            Kind::UdpNoListener,
            Kind::HttpNoListener,
        ],
    ),
    ("reset", &[Kind::MadeAndReset]),
    (
        "unreachable",
        &[
            Kind::FirewallIcmpHost,
            Kind::LinkDown,
            Kind::Blackhole,
            Kind::NoRoute,
        ],
    ),
    (
        "peer_full",
        &[Kind::UnixReaderStopped, Kind::SyslogReaderStopped],
    ),
    ("resolver", &[Kind::NameSilent, Kind::NameUnknown]),
    ("slow_path", &[Kind::PathNarrow, Kind::SynLate]),
    ("no_space", &[Kind::DiskFull]),
    ("io_error", &[Kind::DirectoryGone]),
    ("too_large", &[Kind::UdpTooLarge, Kind::SyslogTooLarge]),
    ("not_found", &[Kind::UnixGone, Kind::SyslogGone]),
    ("rejected", &[Kind::HttpStatus]),
    ("timeout", &[Kind::ZeroTimeout]),
    ("unknown", &[Kind::HttpLate, Kind::PipeFull]),
];

impl Kind {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        CAUSES.iter().flat_map(|(_, kinds)| kinds.iter().copied())
    }

    pub(crate) fn place(self) -> Place {
        match self {
            Self::NameSilent | Self::NameUnknown => Place::Name,
            Self::UnixReaderStopped | Self::UnixNoListener | Self::UnixGone => Place::Unix,
            Self::UdpNoListener | Self::UdpTooLarge => Place::Udp,
            Self::SyslogReaderStopped | Self::SyslogGone | Self::SyslogTooLarge => Place::Syslog,
            Self::HttpStatus | Self::HttpNoListener | Self::HttpLate => Place::Http,
            Self::DiskFull | Self::DirectoryGone => Place::Disk,
            Self::PipeFull => Place::Pipe,
            _ => Place::Tcp,
        }
    }

    pub(crate) fn expected(self) -> Expected {
        let cause: &'static [&'static str] = match self {
            Self::Nothing | Self::OneReset | Self::SlowWork => &[],
            Self::OutputDropped | Self::RepliesDropped | Self::DroppedBeyond => &["local_drop"],
            Self::ArrivalsDropped => {
                return Expected {
                    connect: &["syn_unanswered"],
                    write: &["no_ack"],
                };
            }
            Self::SynsDropped => &["syn_unanswered"],
            Self::ReaderStopped | Self::ReaderSlow => &["zero_window"],
            Self::NoListener
            | Self::FirewallReset
            | Self::HttpNoListener
            | Self::UnixNoListener => {
                return Expected {
                    connect: &["refused"],
                    write: &["reset", "refused"],
                };
            }
            Self::FirewallIcmpPort => &["refused", "unreachable"],
            // The first write meets a connection that has ended.
            Self::UnixGone => {
                return Expected {
                    connect: &["not_found"],
                    write: &["reset", "not_found"],
                };
            }
            Self::UdpNoListener => &["refused"],
            Self::MadeAndReset => &["reset"],
            Self::FirewallIcmpHost | Self::LinkDown | Self::Blackhole | Self::NoRoute => {
                &["unreachable"]
            }
            Self::UnixReaderStopped | Self::SyslogReaderStopped => &["peer_full"],
            Self::NameSilent | Self::NameUnknown => &["resolver"],
            Self::PathNarrow | Self::SynLate => &["slow_path"],
            Self::DiskFull => &["no_space"],
            Self::DirectoryGone => &["io_error"],
            Self::UdpTooLarge | Self::SyslogTooLarge => &["too_large"],
            Self::SyslogGone => &["not_found"],
            Self::HttpStatus => &["rejected"],
            Self::ZeroTimeout => &["timeout"],
            Self::HttpLate | Self::PipeFull => &["unknown"],
        };
        Expected::both(cause)
    }

    /// Whether a device is to blame at all.
    pub(crate) fn is_fault(self) -> bool {
        !matches!(self, Self::Nothing | Self::OneReset | Self::SlowWork)
    }

    /// Whether the device fails at once, and blocks no request for long.
    pub(crate) fn fails_at_once(self) -> bool {
        matches!(
            self,
            Self::NoListener
                | Self::FirewallReset
                | Self::MadeAndReset
                | Self::UnixNoListener
                | Self::UnixGone
                | Self::UdpNoListener
                | Self::UdpTooLarge
                | Self::SyslogGone
                | Self::SyslogTooLarge
                | Self::HttpStatus
                | Self::HttpNoListener
                | Self::DiskFull
                | Self::DirectoryGone
                | Self::NameUnknown
                | Self::ZeroTimeout
        )
    }

    /// The connection that there is would not notice.
    pub(crate) fn needs_reset(self) -> bool {
        matches!(
            self,
            Self::SynsDropped
                | Self::FirewallIcmpPort
                | Self::FirewallIcmpHost
                | Self::SynLate
                | Self::NameSilent
                | Self::NameUnknown
        )
    }

    pub(crate) fn sends_large_entries(self) -> bool {
        matches!(
            self,
            Self::PathNarrow | Self::UdpTooLarge | Self::SyslogTooLarge
        )
    }

    /// Entries are taken in the end, if the device's time-out is long enough.
    pub(crate) fn succeeds_late(self) -> bool {
        matches!(self, Self::PathNarrow | Self::SynLate | Self::ReaderSlow)
    }

    /// No time-out ends the wait.
    pub(crate) fn has_no_end(self) -> bool {
        matches!(
            self,
            Self::SyslogReaderStopped | Self::PipeFull | Self::HttpLate | Self::PathNarrow
        ) || !self.is_fault()
    }

    /// The server does not start with a device that fails alone, or nothing goes on without another.
    pub(crate) fn needs_file_beside(self) -> bool {
        matches!(self, Self::ZeroTimeout) || !self.is_fault()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_makes_the_cause_it_is_listed_under() {
        for (cause, kinds) in CAUSES {
            for kind in kinds {
                let expected = kind.expected().of(None);
                let injected = if kind.is_fault() {
                    expected.contains(&cause)
                } else {
                    cause == NONE && expected.is_empty()
                };
                assert!(injected, "{kind:?} {cause}");
            }
        }
    }

    #[test]
    fn a_wait_for_the_lock_has_the_cause_of_either_operation() {
        let expected = Kind::ArrivalsDropped.expected();
        assert_eq!(expected.of(Some("connect")), ["syn_unanswered"]);
        assert_eq!(expected.of(Some("write")), ["no_ack"]);
        assert_eq!(expected.of(Some("lock")), ["syn_unanswered", "no_ack"]);
        assert_eq!(expected.of(None), ["syn_unanswered", "no_ack"]);
    }
}
