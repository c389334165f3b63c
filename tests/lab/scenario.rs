//! The seed's reproduction, step by step.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::audit::{AuditDevice, Endpoint};
use crate::client::{Client, Measured};
use crate::fault::{Applied, Fault};
use crate::log_server::LogServer;
use crate::network::{Family, Network};
use crate::server::{self, Server};
use crate::setup::Builder;

/// The port of the audit log server.
pub const PORT: u16 = 1515;
/// A request whose audit entry of 4.9 kB fills the send buffer soonest (values are hashed, so big values do not).
pub const BIG_REQUEST: &str = "/v1/sys/mounts";
/// Eight to ten requests fill a send buffer as it is at first; after a busy time TCP may have let it grow to 4 MB (`tcp_wmem`).
const FILL_REQUESTS: usize = 1000;
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
    /// Where it logs to.
    pub endpoint: Endpoint,
    /// By which protocol.
    pub family: Family,
    pub(crate) _directory: TempDir,
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
        Builder::new(bao)
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
        self.log.reset_connections()?;
        self.more_logs
            .iter()
            .try_for_each(LogServer::reset_connections)?;
        // Who meets the reset is spared one dial: nobody after this one is.
        let first = self.client.get(BIG_REQUEST)?;
        Ok((fault, first))
    }

    /// Sends requests until one hangs: the seed's `big-kv.sh`.
    pub fn fill(&self) -> Result<Vec<Measured>> {
        fill(&self.client)
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
