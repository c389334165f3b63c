//! Whom entries name as their client: the other end of its connection, or whom a proxy in between names.
//!
//! Behind a proxy that sets `X-Forwarded-For` the address is another one, and the port the connection's own
//! (`http/handler.go`, `WrapForwardedForHandler`). The PROXY protocol replaces both (`listenerutil.WrapInProxyProto`): another
//! connection may have that port, or even that address and port, by chance.

use std::net::{IpAddr, SocketAddr};

use tracer_model::EntryHead;

/// As the entries show whose request is known otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EntryClients {
    /// None was another than the connection's own end.
    #[default]
    OwnEnds,
    /// Some had another address, and none another port.
    OtherAddresses,
    /// Some had another port.
    OtherPorts,
}

impl EntryClients {
    /// An entry of a request over the connection with this client's end.
    pub(crate) fn learn(&mut self, client: SocketAddr, entry: &EntryHead) {
        let Some(port) = entry.remote_port else {
            return;
        };
        if port != client.port() {
            *self = Self::OtherPorts;
        } else if *self == Self::OwnEnds && address_of(entry).is_some_and(|ip| !is_same(ip, client))
        {
            *self = Self::OtherAddresses;
        }
    }

    /// Whether the entry names the client with this end, and can mean no other.
    pub(crate) fn names(self, client: SocketAddr, entry: &EntryHead) -> bool {
        let is_at = |entry: &EntryHead| match (&entry.remote_address, address_of(entry)) {
            (None, _) => true,
            (Some(_), address) => address.is_some_and(|ip| is_same(ip, client)),
        };
        entry.remote_port == Some(client.port())
            && match self {
                Self::OwnEnds => is_at(entry),
                Self::OtherAddresses => true,
                Self::OtherPorts => false,
            }
    }

    /// The address that an entry of this client bears beside its port; `None` if it may be any.
    pub(crate) fn address(self, client: SocketAddr) -> Option<IpAddr> {
        (self == Self::OwnEnds).then(|| client.ip().to_canonical())
    }

    /// Whether entries can be searched for by their client.
    pub(crate) fn are_searchable(self) -> bool {
        self != Self::OtherPorts
    }
}

fn address_of(entry: &EntryHead) -> Option<IpAddr> {
    entry.remote_address.as_ref()?.parse().ok()
}

fn is_same(ip: IpAddr, client: SocketAddr) -> bool {
    ip.to_canonical() == client.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: Option<&str>, port: u16) -> EntryHead {
        EntryHead {
            remote_address: address.map(str::to_owned),
            remote_port: Some(port),
            ..EntryHead::default()
        }
    }

    #[test]
    fn an_entry_is_a_clients_by_address_and_port() {
        for (own, other) in [
            ("10.0.0.7", "10.0.0.8"),
            ("fd00::7", "fd00::8"),
            ("::ffff:10.0.0.7", "10.0.0.8"),
        ] {
            let client = SocketAddr::new(own.parse().expect("an address"), 50_020);
            let canonical = client.ip().to_canonical().to_string();
            let clients = EntryClients::default();
            for (address, port, expected) in [
                (Some(own), 50_020, true),
                (Some(&*canonical), 50_020, true),
                (Some(other), 50_020, false),
                (Some(own), 50_021, false),
                (Some("no address"), 50_020, false),
                // Recordings of before the address was kept.
                (None, 50_020, true),
            ] {
                assert_eq!(
                    clients.names(client, &entry(address, port)),
                    expected,
                    "{address:?}"
                );
            }
        }
    }

    #[test]
    fn what_entries_name_is_learnt_from_those_that_are_known_otherwise() {
        let client: SocketAddr = "10.0.0.7:50020".parse().expect("an address");
        let (own, by_header, by_proxy) = (
            entry(Some("10.0.0.7"), 50_020),
            entry(Some("192.0.2.1"), 50_020),
            entry(Some("192.0.2.1"), 40_000),
        );
        for (seen, named, address) in [
            (&[&own][..], [true, false], client.ip().into()),
            (&[&own, &by_header], [true, true], None),
            // The same port is by chance then, and the same address may be.
            (&[&by_proxy], [false, false], None),
            (&[&by_header, &by_proxy, &own], [false, false], None),
        ] {
            let mut clients = EntryClients::default();
            for entry in seen {
                clients.learn(client, entry);
            }
            let names = [&own, &by_header].map(|entry| clients.names(client, entry));
            assert_eq!(names, named, "{seen:?}");
            assert_eq!(clients.address(client), address);
            assert_eq!(clients.are_searchable(), named[0]);
        }
    }
}
