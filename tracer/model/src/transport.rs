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

/// What the address of a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// An IP address or a name, and a port.
    HostPort,
    /// The path of a Unix socket.
    SocketPath,
    /// The path of a file, or `stdout`.
    FilePath,
    /// Something else, such as a URL: no socket of its own.
    Other,
}

impl Transport {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Tcp,
        Self::Udp,
        Self::Unix,
        Self::File,
        Self::Http,
        Self::Syslog,
    ];

    /// As the trace and the terminal spell it, and how its addresses look.
    fn properties(self) -> (&'static str, AddressKind) {
        match self {
            Self::Tcp => ("tcp", AddressKind::HostPort),
            Self::Udp => ("udp", AddressKind::HostPort),
            Self::Unix => ("unix", AddressKind::SocketPath),
            Self::File => ("file", AddressKind::FilePath),
            Self::Http => ("http", AddressKind::Other),
            Self::Syslog => ("syslog", AddressKind::Other),
        }
    }

    /// As the trace and the terminal spell it.
    pub fn name(self) -> &'static str {
        self.properties().0
    }

    /// How its addresses look.
    pub fn address_kind(self) -> AddressKind {
        self.properties().1
    }

    /// Whether it is a socket, which the probes see, rather than a kind of device that only the stacks of waiting
    /// goroutines show.
    pub fn is_socket(self) -> bool {
        matches!(
            self.address_kind(),
            AddressKind::HostPort | AddressKind::SocketPath
        )
    }

    /// That of a device without an address, by its path: Vault names a device after its type unless the operator does.
    pub fn of_device_path(path: &str) -> Self {
        match path.trim_end_matches('/') {
            "file" => Self::File,
            "http" => Self::Http,
            "syslog" => Self::Syslog,
            _ => Self::Tcp,
        }
    }

    /// That of a network of Go's `net.Dial` (`net/dial.go`), as far as an audit device can use it.
    pub fn of_network(network: &str) -> Option<Self> {
        match network {
            "tcp" | "tcp4" | "tcp6" => Some(Self::Tcp),
            "udp" | "udp4" | "udp6" => Some(Self::Udp),
            "unix" | "unixgram" | "unixpacket" => Some(Self::Unix),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::{IntoDeserializer, value::Error};

    use super::*;

    #[test]
    fn all_are_read_by_their_names() {
        for transport in Transport::ALL {
            let name = IntoDeserializer::<Error>::into_deserializer(transport.name());
            assert_eq!(Transport::deserialize(name), Ok(transport));
        }
    }
}
