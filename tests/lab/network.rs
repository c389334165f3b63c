//! The lab's hosts: one that runs Vault, and log hosts, each on a link of its own to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Once;

use anyhow::Result;

use crate::leftovers;
use crate::netns::Namespace;

static REMOVE_LEFTOVERS: Once = Once::new();

/// Which Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The loopback address.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// The hosts. Deleted when dropped.
#[derive(Debug, Clone)]
pub struct Network {
    /// The host that runs Vault, and its client.
    pub vault: Namespace,
    /// The hosts for log servers.
    pub logs: Vec<LogHost>,
}

/// A host at the other end of a link from the Vault host.
#[derive(Debug, Clone)]
pub struct LogHost {
    /// Its namespace.
    pub namespace: Namespace,
    index: u8,
}

impl Network {
    /// A Vault host and `log_hosts` log hosts, linked and addressed.
    pub fn create(log_hosts: u8) -> Result<Self> {
        REMOVE_LEFTOVERS.call_once(|| {
            if let Err(error) = leftovers::remove() {
                eprintln!("lab: {error:#}");
            }
        });
        Self::link(Namespace::create("vault")?, log_hosts, |index| {
            Namespace::create(&format!("log{index}"))
        })
    }

    /// The same under fixed names, for a lab that outlives its maker: `NAME-vault`, `NAME-log0`, ...
    pub fn create_named(name: &str, log_hosts: u8) -> Result<Self> {
        let vault = Namespace::create_named(&format!("{name}-vault"))?;
        Self::link(vault, log_hosts, |index| {
            Namespace::create_named(&format!("{name}-log{index}"))
        })
    }

    fn link(
        vault: Namespace,
        log_hosts: u8,
        host: impl Fn(u8) -> Result<Namespace>,
    ) -> Result<Self> {
        // Else a link that goes down and up again comes back without its IPv6 address.
        vault.sysctl("ipv6/conf/all/keep_addr_on_down", "1")?;
        let logs = (0..log_hosts)
            .map(|index| LogHost::create(&vault, host(index)?, index))
            .collect::<Result<_>>()?;
        Ok(Self { vault, logs })
    }

    /// Leave the hosts in place when dropped.
    pub fn keep(&self) {
        self.vault.keep();
        self.logs.iter().for_each(|host| host.namespace.keep());
    }
}

impl LogHost {
    fn create(vault: &Namespace, namespace: Namespace, index: u8) -> Result<Self> {
        let host = Self { namespace, index };
        let (near, far) = (host.interface(), "vault");
        let peer = [
            "type",
            "veth",
            "peer",
            "name",
            far,
            "netns",
            host.namespace.name(),
        ];
        vault.ip(["link", "add", near.as_str()].into_iter().chain(peer))?;
        for family in [Family::V4, Family::V6] {
            assign(vault, &near, host.vault_address(family))?;
            assign(&host.namespace, far, host.address(family))?;
        }
        host.namespace.ip(["link", "set", far, "up"])?;
        vault.ip(["link", "set", &near, "up"])?;
        Ok(host)
    }

    /// The Vault host's interface of this link.
    pub fn interface(&self) -> String {
        format!("log{}", self.index)
    }

    /// Its address: `10.77.0.2` or `fd77::2` for the first.
    pub fn address(&self, family: Family) -> IpAddr {
        self.on_link(family, 2)
    }

    /// The Vault host's address on this link.
    pub fn vault_address(&self, family: Family) -> IpAddr {
        self.on_link(family, 1)
    }

    /// An address of this link that no host has.
    pub fn absent_address(&self, family: Family) -> IpAddr {
        self.on_link(family, 99)
    }

    /// A port of it.
    pub fn port(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(family), port)
    }

    fn on_link(&self, family: Family, host: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 77, self.index, host).into(),
            Family::V6 => {
                Ipv6Addr::new(0xfd77, self.index.into(), 0, 0, 0, 0, 0, host.into()).into()
            }
        }
    }
}

fn assign(namespace: &Namespace, interface: &str, address: IpAddr) -> Result<()> {
    // Duplicate address detection would keep an IPv6 address unusable for a second or two.
    match address {
        IpAddr::V4(address) => {
            namespace.ip(["addr", "add", &format!("{address}/24"), "dev", interface])
        }
        IpAddr::V6(address) => namespace.ip([
            "addr",
            "add",
            &format!("{address}/64"),
            "dev",
            interface,
            "nodad",
        ]),
    }
}
