//! What is looked at: a real server with a healthy log server, who asks it, and a bystander on the same host.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    Family, Network, Process, Server,
    scenario::{self, PORT},
    server::TOKEN,
    sockets, wait,
};
use serde::de::DeserializeOwned;

use super::figures::{Load, Others};

/// Audited, and among the cheapest requests there are: what tracing costs shows most.
pub const REQUEST: &str = "/v1/auth/token/lookup-self";
/// Milliseconds of load before it is measured: connections, and Go's heap, settle.
pub const WARM_UP: u64 = 200;
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
const PART_LIMIT: Duration = Duration::from_mins(1);

/// It all; stopped when dropped.
pub struct Subject<'a> {
    // In the order in which they are to be dropped.
    server: Server,
    _log_server: Process,
    network: Network,
    parts: &'a Path,
    clients: usize,
}

impl<'a> Subject<'a> {
    /// Starts the server with a file and a socket device.
    pub fn start(bao: &Path, parts: &'a Path, clients: usize) -> Result<Self> {
        let network = Network::create(1)?;
        let address = network.logs[0].port(Family::V4, PORT);
        let mut command = network.logs[0].namespace.command(parts);
        command.args(["log-server", &address.to_string()]);
        let log_server = Process::spawn("the log server", &mut command)?;
        listening(&log_server, address)?;
        let server = scenario::classic(bao, address).start(&network.vault)?;
        Ok(Self {
            server,
            _log_server: log_server,
            network,
            parts,
            clients,
        })
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Asks the server for so long; with what the server's and another process use meanwhile.
    pub fn load(&self, measured: Duration, observer: Option<u32>) -> Result<Load> {
        let mut command = self.network.vault.command(self.parts);
        let server = self.server.address(Family::V4).to_string();
        command
            .args([
                "load", "--server", &server, "--token", TOKEN, "--path", REQUEST,
            ])
            .args(["--clients", &self.clients.to_string()])
            .args(["--warm-up", &WARM_UP.to_string()])
            .args(["--measure", &measured.as_millis().to_string()])
            .args(["--watch", &self.pid().to_string()]);
        if let Some(observer) = observer {
            command.args(["--watch", &observer.to_string()]);
        }
        part("the clients", &mut command, measured + PART_LIMIT)
    }

    /// What system calls that have nothing to do with the server cost, while it is idle.
    pub fn others(&self) -> Result<Others> {
        part(
            "the bystander",
            Command::new(self.parts).arg("bystander"),
            PART_LIMIT,
        )
    }
}

fn listening(process: &Process, address: SocketAddr) -> Result<()> {
    wait::until("the log server to listen", LISTEN_LIMIT, || {
        let sockets = sockets::tcp(process.pid())?;
        let listens = sockets.iter().any(|socket| socket.local == address);
        Ok(listens.then_some(()))
    })
}

/// Runs a part to its end, and reads what it printed.
fn part<T: DeserializeOwned>(name: &str, command: &mut Command, limit: Duration) -> Result<T> {
    let output = tempfile::tempdir()?;
    let (stdout, stderr) = (output.path().join("stdout"), output.path().join("stderr"));
    command
        .stdout(std::fs::File::create(&stdout)?)
        .stderr(std::fs::File::create(&stderr)?);
    let status = Process::spawn(name, command)?.wait(limit)?;
    let complaint = std::fs::read_to_string(stderr)?;
    ensure!(
        status.success(),
        "{name} failed ({status}): {}",
        complaint.trim()
    );
    let text = std::fs::read_to_string(stdout)?;
    serde_json::from_str(&text).with_context(|| format!("{name} printed no figures: {text}"))
}
