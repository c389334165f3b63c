//! The seed's reproduction, step by step.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::audit::{AuditDevice, Endpoint};
use crate::client::{Client, Measured};
use crate::fault::{Applied, Fault};
use crate::log_server::LogServer;
use crate::network::{Family, Network};
use crate::server::{self, Server};

/// The port of the audit log server.
pub const PORT: u16 = 1515;
/// A request whose audit entry of 4.9 kB fills the send buffer soonest (values are hashed, so big values do not).
pub const BIG_REQUEST: &str = "/v1/sys/mounts";
/// Eight to ten requests fill a send buffer.
const FILL_REQUESTS: usize = 60;
const FILL_LIMIT: Duration = Duration::from_mins(1);

/// The classic set: a Vault host with a file and a socket device, and a log host that listens.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they are to be dropped.
    /// The server.
    pub server: Server,
    /// What it logs to, on the first log host.
    pub log: LogServer,
    /// What it logs to beside that, each on a log host of its own.
    pub more_logs: Vec<LogServer>,
    /// The hosts.
    pub network: Network,
    /// Asks the server.
    pub client: Client,
    family: Family,
}

impl Lab {
    /// Starts it all; returns when the server answers.
    pub fn start(bao: &Path, family: Family) -> Result<Self> {
        Self::start_with(bao, family, &[])
    }

    /// The same with further options of the socket device: `write_timeout`, `log_raw`, ...
    pub fn start_with(bao: &Path, family: Family, options: &[(&str, &str)]) -> Result<Self> {
        let with_option = |lab: Builder, (name, value): &(&str, &str)| lab.option(name, value);
        let lab = options.iter().fold(Self::builder(bao), with_option);
        lab.family(family).start()
    }

    /// A lab to be: one socket device beside the file, over IPv4.
    pub fn builder(bao: &Path) -> Builder {
        Builder {
            bao: bao.to_owned(),
            family: Family::default(),
            sockets: 1,
            options: Vec::new(),
            config: String::new(),
            tls: false,
        }
    }

    /// The address of the audit log server.
    pub fn log_address(&self) -> SocketAddr {
        self.network.logs[0].port(self.family, PORT)
    }

    /// The addresses of all log servers.
    pub fn log_addresses(&self) -> Vec<SocketAddr> {
        let hosts = self.network.logs.iter();
        hosts.map(|host| host.port(self.family, PORT)).collect()
    }

    /// Drops what leaves the Vault host for the log server: the seed's `iptables-drop.sh`.
    pub fn drop_output(&self) -> Result<Applied> {
        Fault::drop_output(PORT).apply(&self.network.vault)
    }

    /// Drops what leaves for any log server, and has the connections reset: from now on every socket device of
    /// every request waits for its dials, without a buffer to fill first. With it comes the first such request.
    pub fn cut_off(&self) -> Result<(Applied, Measured)> {
        let fault = self.drop_output()?;
        self.log.reset_connections();
        self.more_logs.iter().for_each(LogServer::reset_connections);
        // Who meets the reset is spared one dial: nobody after this one is.
        let first = self.client.get(BIG_REQUEST)?;
        Ok((fault, first))
    }

    /// Sends requests until one hangs: the seed's `big-kv.sh`.
    pub fn fill(&self) -> Result<Vec<Measured>> {
        fill(&self.client)
    }
}

/// What a lab is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    bao: PathBuf,
    family: Family,
    sockets: u8,
    options: Vec<(String, String)>,
    config: String,
    tls: bool,
}

impl Builder {
    /// Over this Internet protocol.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// With so many socket devices, each with a log host and a log server of its own.
    #[must_use]
    pub fn sockets(mut self, count: u8) -> Self {
        self.sockets = count;
        self
    }

    /// With an option of every socket device: `write_timeout`, `log_raw`, ...
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With more lines in the server's configuration.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self
    }

    /// With a listener that speaks TLS and HTTP/2.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it all; returns when the server answers.
    pub fn start(&self) -> Result<Lab> {
        let network = Network::create(self.sockets)?;
        let mut server = Server::builder(&self.bao)
            .audit_to_file()
            .config(&self.config);
        let mut logs = Vec::new();
        for (host, name) in network
            .logs
            .iter()
            .zip(["to-socket", "to-another", "to-a-third"])
        {
            let at = Endpoint::Tcp(host.port(self.family, PORT));
            logs.push(LogServer::start(&host.namespace, at.clone())?);
            server = server.audit(self.with_options(AuditDevice::socket(name, &at)));
        }
        if self.tls {
            server = server.tls();
        }
        let server = server.start(&network.vault)?;
        Ok(Lab {
            client: server.client(self.family),
            server,
            log: logs.remove(0),
            more_logs: logs,
            network,
            family: self.family,
        })
    }

    fn with_options(&self, device: AuditDevice) -> AuditDevice {
        let with_option =
            |device: AuditDevice, (name, value): &(String, String)| device.option(name, value);
        self.options.iter().fold(device, with_option)
    }
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
