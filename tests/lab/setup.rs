//! What a lab is made of: the devices its server audits to, the log servers, and their hosts.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Result;

use crate::audit::{AuditDevice, Endpoint};
use crate::log_server::LogServer;
use crate::network::{Family, LogHost, Network};
use crate::scenario::{Lab, PORT};
use crate::server::{self, Server};

/// What [`Devices::NamedTcp`] logs to.
pub const LOG_NAME: &str = "log.lab";
/// An `/etc/hosts` that does not know it.
pub const NO_NAMES: &str = "127.0.0.1 localhost\n";
/// No host has this address, so it never answers: [`LogHost::absent_address`] of the first.
const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 99));

/// What a lab's server audits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// A file, and TCP sockets, each with a log server on a host of its own.
    Tcp(u8),
    /// One TCP socket alone.
    TcpAlone,
    /// A file, and a TCP socket at a name, [`LOG_NAME`], that `/etc/hosts` knows.
    NamedTcp,
    /// A file, and a UDP socket on another host.
    Udp,
    /// A file, and a Unix socket on the server's own.
    Unix,
}

/// What a lab is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    server: server::Builder,
    family: Family,
    devices: Devices,
    options: Vec<(String, String)>,
}

impl Builder {
    pub(crate) fn new(bao: &Path) -> Self {
        Self {
            server: Server::builder(bao),
            family: Family::default(),
            devices: Devices::Tcp(1),
            options: Vec::new(),
        }
    }

    /// Over this Internet protocol.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// With these devices.
    #[must_use]
    pub fn devices(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// With an option of every socket device: `write_timeout`, `log_raw`, ...
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a server that is more than that: slow storage, TLS, further lines of configuration.
    #[must_use]
    pub fn server(mut self, more: impl FnOnce(server::Builder) -> server::Builder) -> Self {
        self.server = more(self.server);
        self
    }

    /// Starts it all; returns when the server answers.
    pub fn start(&self) -> Result<Lab> {
        let network = Network::create(self.hosts())?;
        let directory = tempfile::tempdir()?;
        let endpoints: Vec<_> = network
            .logs
            .iter()
            .map(|host| self.endpoint(host, directory.path()))
            .collect();
        let hosts = network.logs.iter().zip(&endpoints);
        let logs = hosts.map(|(host, at)| LogServer::start(&host.namespace, at.clone()));
        let mut logs = logs.collect::<Result<Vec<_>>>()?;
        let server = self.with_devices(&endpoints).start(&network.vault)?;
        Ok(Lab {
            client: server.client(self.family),
            server,
            log: logs.remove(0),
            more_logs: logs,
            network,
            endpoint: endpoints[0].clone(),
            family: self.family,
            _directory: directory,
        })
    }

    fn hosts(&self) -> u8 {
        match self.devices {
            Devices::Tcp(sockets) => sockets,
            _ => 1,
        }
    }

    fn endpoint(&self, host: &LogHost, directory: &Path) -> Endpoint {
        match self.devices {
            Devices::Udp => Endpoint::Udp(host.port(self.family, PORT)),
            Devices::Unix => Endpoint::Unix(directory.join("log.sock")),
            _ => Endpoint::Tcp(host.port(self.family, PORT)),
        }
    }

    fn with_devices(&self, endpoints: &[Endpoint]) -> server::Builder {
        let mut server = self.server.clone();
        if self.devices != Devices::TcpAlone {
            server = server.audit_to_file();
        }
        for (number, endpoint) in endpoints.iter().enumerate() {
            let mut at = endpoint.clone();
            if let (Devices::NamedTcp, Endpoint::Tcp(address)) = (self.devices, endpoint) {
                at = Endpoint::TcpName(format!("{LOG_NAME}:{PORT}"));
                let hosts = format!("{NO_NAMES}{} {LOG_NAME}\n", address.ip());
                server = server.resolver(NAME_SERVER, &hosts);
            }
            let device = AuditDevice::socket(&format!("to-socket{number}"), &at);
            server = server.audit(self.with_options(device));
        }
        server
    }

    fn with_options(&self, device: AuditDevice) -> AuditDevice {
        let with_option =
            |device: AuditDevice, (name, value): &(String, String)| device.option(name, value);
        self.options.iter().fold(device, with_option)
    }
}
