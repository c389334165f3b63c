//! The seed's reproduction, step by step.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::audit::{AuditDevice, Endpoint};
use crate::client::{Client, Measured};
use crate::fault::{Applied, Fault};
use crate::log_server::LogServer;
use crate::network::{Family, LogHost, Network};
use crate::server::{self, Server};

/// The port of the audit log server.
pub const PORT: u16 = 1515;
/// A request whose audit entry of 4.9 kB fills the send buffer soonest (values are hashed, so big values do not).
pub const BIG_REQUEST: &str = "/v1/sys/mounts";
/// What [`Devices::NamedTcp`] logs to.
pub const LOG_NAME: &str = "log.lab";
/// An `/etc/hosts` that does not know it.
pub const NO_NAMES: &str = "127.0.0.1 localhost\n";
/// No host has this address, so it never answers: [`LogHost::absent_address`] of the first.
const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 99));
/// Eight to ten requests fill a send buffer.
const FILL_REQUESTS: usize = 60;
const FILL_LIMIT: Duration = Duration::from_mins(1);

/// What a lab's server audits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// A file, and a TCP socket on another host.
    #[default]
    Tcp,
    /// The TCP socket alone.
    TcpAlone,
    /// A file, and a TCP socket on each of two hosts.
    TwoTcp,
    /// A file, and a TCP socket at a name, [`LOG_NAME`], that `/etc/hosts` knows.
    NamedTcp,
    /// A file, and a UDP socket on another host.
    Udp,
    /// A file, and a Unix socket on the server's own.
    Unix,
}

/// What a lab is made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup<'a> {
    /// IPv4 or IPv6.
    pub family: Family,
    /// What is audited to.
    pub devices: Devices,
    /// Further options of the socket devices: `write_timeout`, `log_raw`, ...
    pub options: &'a [(&'a str, &'a str)],
    /// How long the server's storage takes for each access.
    pub storage_latency: Duration,
}

/// A Vault host with a file and a socket device, and a log host that listens; or a variation of it.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they are to be dropped.
    /// The server.
    pub server: Server,
    /// What it logs to, on the first log host.
    pub log: LogServer,
    /// And on the second.
    pub second_log: Option<LogServer>,
    /// The hosts.
    pub network: Network,
    /// Asks the server.
    pub client: Client,
    /// Where it logs to.
    pub endpoint: Endpoint,
    /// By which protocol.
    pub family: Family,
    _directory: TempDir,
}

impl Lab {
    /// Starts it all; returns when the server answers.
    pub fn start(bao: &Path, family: Family) -> Result<Self> {
        Self::start_with(bao, family, &[])
    }

    /// The same with further options of the socket device: `write_timeout`, `log_raw`, ...
    pub fn start_with(bao: &Path, family: Family, options: &[(&str, &str)]) -> Result<Self> {
        let setup = Setup {
            family,
            options,
            ..Setup::default()
        };
        Self::start_as(bao, setup)
    }

    /// The same in any variation.
    pub fn start_as(bao: &Path, setup: Setup<'_>) -> Result<Self> {
        let Setup {
            family, devices, ..
        } = setup;
        let network = Network::create(if devices == Devices::TwoTcp { 2 } else { 1 })?;
        let directory = tempfile::tempdir()?;
        let endpoint = |host: &LogHost| match devices {
            Devices::Udp => Endpoint::Udp(host.port(family, PORT)),
            Devices::Unix => Endpoint::Unix(directory.path().join("log.sock")),
            _ => Endpoint::Tcp(host.port(family, PORT)),
        };
        let logs = network
            .logs
            .iter()
            .map(|host| LogServer::start(&host.namespace, endpoint(host)));
        let mut logs = logs.collect::<Result<Vec<_>>>()?;
        let endpoints: Vec<_> = network.logs.iter().map(endpoint).collect();
        let server = server(bao, setup, &endpoints).start(&network.vault)?;
        let client = server.client(family);
        Ok(Self {
            server,
            log: logs.remove(0),
            second_log: logs.pop(),
            network,
            client,
            endpoint: endpoints[0].clone(),
            family,
            _directory: directory,
        })
    }

    /// The address of the audit log server.
    pub fn log_address(&self) -> SocketAddr {
        self.network.logs[0].port(self.family, PORT)
    }

    /// Drops what leaves the Vault host for the log server: the seed's `iptables-drop.sh`.
    pub fn drop_output(&self) -> Result<Applied> {
        Fault::drop_output(PORT).apply(&self.network.vault)
    }

    /// Sends requests until one hangs: the seed's `big-kv.sh`.
    pub fn fill(&self) -> Result<Vec<Measured>> {
        fill(&self.client)
    }
}

fn server(bao: &Path, setup: Setup<'_>, endpoints: &[Endpoint]) -> server::Builder {
    let Setup {
        devices, options, ..
    } = setup;
    let mut builder = Server::builder(bao).storage_latency(setup.storage_latency);
    if devices != Devices::TcpAlone {
        builder = builder.audit_to_file();
    }
    for (number, endpoint) in endpoints.iter().enumerate() {
        let mut at = endpoint.clone();
        if let (Devices::NamedTcp, Endpoint::Tcp(address)) = (devices, endpoint) {
            at = Endpoint::TcpName(format!("{LOG_NAME}:{PORT}"));
            let hosts = format!("{NO_NAMES}{} {LOG_NAME}\n", address.ip());
            builder = builder.resolver(NAME_SERVER, &hosts);
        }
        let device = AuditDevice::socket(&format!("to-socket{number}"), &at);
        builder = builder.audit(
            options
                .iter()
                .fold(device, |device, (name, value)| device.option(name, value)),
        );
    }
    builder
}

/// A server with a file device and a socket device to `address`.
pub fn classic(bao: &Path, address: SocketAddr) -> server::Builder {
    Server::builder(bao)
        .audit_to_file()
        .audit(AuditDevice::socket("to-socket", &Endpoint::Tcp(address)))
}

/// Sends requests with big audit entries until one takes longer than a second: the last of those returned.
pub fn fill(client: &Client) -> Result<Vec<Measured>> {
    let begun = Instant::now();
    let mut requests = Vec::new();
    while requests.len() < FILL_REQUESTS && begun.elapsed() < FILL_LIMIT {
        let request = client.get(BIG_REQUEST)?;
        let hung = request.hung();
        requests.push(request);
        if hung {
            return Ok(requests);
        }
    }
    bail!(
        "{} requests in {:.1} s, and none hung: is the audit socket cut off?",
        requests.len(),
        begun.elapsed().as_secs_f32()
    )
}

/// `clients` at once, each sending `requests` one after the other on a connection of its own.
pub fn load(client: &Client, clients: usize, requests: usize) -> Result<Vec<Measured>> {
    let work = || -> Result<Vec<Measured>> {
        let mut connection = client.connect()?;
        (0..requests).map(|_| connection.get(BIG_REQUEST)).collect()
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        let finished = started.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        finished
            .collect::<Result<Vec<_>>>()
            .map(|each| each.concat())
    })
}
