//! An audit device: where a socket leads, or what else entries go to.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::{
    socket::Socket,
    transport::{AddressKind, Transport},
};

/// An audit device, or what may turn out to be one: where a socket leads. Two with the same transport and address are
/// one device, whatever else is known of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    /// How.
    pub transport: Transport,
    /// As it is configured, where that is known, else where its socket leads: `10.0.0.2:1515`, `[fd00::2]:1515`,
    /// `log:1515`, a path, `stdout`, or `https://log:8080`; empty if it is not known.
    pub address: String,
    /// What the operator called it (`vault audit list`): `socket/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where its sockets led, if it is configured by a name, a URL, or another path of a Unix socket: at most [`Self::MAX_ADDRESSES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// An audit device of the server's own table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredDevice {
    /// What the operator called it (`vault audit list`): `socket/`.
    pub path: String,
    /// Where it is configured to write; of a URL only what is not secret.
    pub device: Device,
    /// Whether it gets all entries: neither a filter nor being a fallback keeps any from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_all: bool,
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        (self.transport, &self.address) == (other.transport, &other.address)
    }
}

impl Eq for Device {}

impl Hash for Device {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.transport, &self.address).hash(state);
    }
}

impl PartialOrd for Device {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Device {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.transport, &self.address).cmp(&(other.transport, &other.address))
    }
}

/// Where Go looks for a syslog daemon (`log/syslog/syslog_unix.go`).
pub const SYSLOG_SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// Where that is bound if these are links: with `/var/run` to `/run`, with systemd to its journal.
const SYSLOG_BOUND: [&str; 3] = ["/run/systemd/journal/dev-log", "/run/syslog", "/run/log"];

impl Device {
    /// Addresses of one device that are kept.
    pub const MAX_ADDRESSES: usize = 16;

    /// At this address, and nothing else is known of it.
    pub fn new(transport: Transport, address: impl Into<String>) -> Self {
        Self {
            transport,
            address: address.into(),
            path: None,
            addresses: Vec::new(),
        }
    }

    /// Where this socket leads, if it leads anywhere yet.
    pub fn of(socket: &Socket) -> Option<Self> {
        let remote = socket.remote.map(spelled);
        let address = remote.or_else(|| socket.path.clone())?;
        Some(Self::new(socket.transport, address))
    }

    /// A device as it is configured. An IP address is spelled as the kernel's would be.
    pub fn configured(transport: Transport, address: &str) -> Self {
        let parsed = address.parse().map(|address| Self::tcp(address).address);
        Self::new(transport, parsed.unwrap_or_else(|_| address.to_owned()))
    }

    /// One of several, of which it is not known which. No socket leads there.
    pub fn unknown() -> Self {
        Self::new(Transport::Tcp, "")
    }

    /// Whether it is [`Self::unknown`].
    pub fn is_unknown(&self) -> bool {
        self.transport == Transport::Tcp && self.address.is_empty()
    }

    /// Whether it says where it is, rather than a name to be looked up.
    pub fn is_address(&self) -> bool {
        match self.transport.address_kind() {
            AddressKind::HostPort => self.address.parse::<SocketAddr>().is_ok(),
            AddressKind::SocketPath | AddressKind::FilePath | AddressKind::Other => true,
        }
    }

    /// Whether it is where a syslog daemon listens.
    pub fn is_syslog_socket(&self) -> bool {
        let mut known = SYSLOG_SOCKETS.iter().chain(&SYSLOG_BOUND);
        self.transport == Transport::Unix && known.any(|path| *path == self.address)
    }

    /// A TCP device.
    pub fn tcp(address: SocketAddr) -> Self {
        let address = SocketAddr::new(canonical(address.ip()), address.port());
        Self::new(Transport::Tcp, address.to_string())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path} (")?;
        }
        match &*self.address {
            "" => f.write_str(self.transport.name())?,
            address => write!(f, "{} {address}", self.transport.name())?,
        }
        f.write_str(if self.path.is_some() { ")" } else { "" })
    }
}

/// As `SocketAddr` spells itself, which takes several times as long for IPv4: most of what there is.
fn spelled(address: SocketAddr) -> String {
    let SocketAddr::V4(v4) = address else {
        return address.to_string();
    };
    let mut spelled = String::with_capacity("255.255.255.255:65535".len());
    for (place, octet) in v4.ip().octets().into_iter().enumerate() {
        if place > 0 {
            spelled.push('.');
        }
        push_number(&mut spelled, octet.into());
    }
    spelled.push(':');
    push_number(&mut spelled, v4.port());
    spelled
}

fn push_number(text: &mut String, number: u16) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// IPv4 where an IPv6 socket carries IPv4.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_spelt_as_the_standard_library_does(address in any::<SocketAddr>()) {
            prop_assert_eq!(spelled(address), address.to_string());
        }
    }

    #[test]
    fn zeros_are_spelt() {
        for address in ["0.0.0.0:0", "10.0.100.9:10", "255.255.255.255:65535"] {
            let parsed = address.parse().expect("an address");
            assert_eq!(spelled(parsed), address);
        }
    }
}
