//! The transports of sockets and audit devices.

use serde::{Deserialize, Serialize};

/// Transport of a socket or an audit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP.
    Udp,
    /// Unix stream or datagram.
    Unix,
    /// A file, a FIFO, or standard output: an audit device without a socket.
    File,
    /// HTTP: an audit device whose sockets are not its own.
    Http,
    /// Syslog, where its socket is not known.
    Syslog,
}

impl Transport {
    /// Whether it is a socket, which the probes see, rather than a kind of device that only the code
    /// that waits for it tells.
    pub fn is_socket(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Unix)
    }

    /// As the trace and the terminal spell it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
            Transport::File => "file",
            Transport::Http => "http",
            Transport::Syslog => "syslog",
        }
    }
}
