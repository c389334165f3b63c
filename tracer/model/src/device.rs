//! An audit device: where a socket leads, or what else entries go to.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::{
    socket::Socket,
    transport::{AddressKind, Transport},
};

/// An audit device, or what may turn out to be one: where a socket leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Device {
    /// How.
    pub transport: Transport,
    /// `10.0.0.2:1515`, `[fd00::2]:1515`, a path, `stdout`, or `https://log:8080`; empty if it is
    /// not known.
    pub address: String,
}

impl Device {
    /// Where this socket leads, if it leads anywhere yet.
    pub fn of(socket: &Socket) -> Option<Self> {
        let remote = socket.remote.map(spelled);
        Some(Self {
            transport: socket.transport,
            address: remote.or_else(|| socket.path.clone())?,
        })
    }

    /// A device as it is configured. An IP address is spelled as the kernel's would be.
    pub fn configured(transport: Transport, address: &str) -> Self {
        let parsed = address.parse().map(|address| Self::tcp(address).address);
        Self {
            transport,
            address: parsed.unwrap_or_else(|_| address.to_owned()),
        }
    }

    /// Whether it says where it is, rather than a name to be looked up.
    pub fn is_address(&self) -> bool {
        match self.transport.address_kind() {
            AddressKind::HostPort => self.address.parse::<SocketAddr>().is_ok(),
            AddressKind::SocketPath | AddressKind::FilePath | AddressKind::Other => true,
        }
    }

    /// A TCP device.
    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Tcp,
            address: SocketAddr::new(canonical(address.ip()), address.port()).to_string(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.address {
            "" => f.write_str(self.transport.name()),
            address => write!(f, "{} {address}", self.transport.name()),
        }
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
