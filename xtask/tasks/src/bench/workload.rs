//! The server under load: a real one with a healthy log server, its clients, and a bystander on the same host.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    Family, Network, Process, Server,
    scenario::{self, PORT},
    server::TOKEN,
    sockets, wait,
};
use serde::de::DeserializeOwned;

use super::measurement::{Bystander, Load};
use crate::ui::Captured;

/// Audited, and among the cheapest requests there are, so that the cost of tracing shows most.
pub const REQUEST: &str = "/v1/auth/token/lookup-self";
/// Load before it is measured: connections, and Go's heap, settle.
pub const WARM_UP: Duration = Duration::from_millis(200);
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
const HELPER_LIMIT: Duration = Duration::from_mins(1);

/// Server, log server and network; stopped when dropped.
pub struct Workload<'a> {
    // In the order in which they are to be dropped.
    server: Server,
    _log_server: Process,
    network: Network,
    helper: &'a Path,
    clients: usize,
}

impl<'a> Workload<'a> {
    /// Starts the server with a file and a socket device.
    pub fn start(bao: &Path, helper: &'a Path, clients: usize) -> Result<Self> {
        let network = Network::create(1)?;
        let address = network.logs[0].port(Family::V4, PORT);
        let mut command = network.logs[0].namespace.command(helper);
        command.args(["log-server", &address.to_string()]);
        let log_server = Process::spawn("the log server", &mut command)?;
        listening(&log_server, address)?;
        let server = scenario::classic(bao, address).start(&network.vault)?;
        Ok(Self {
            server,
            _log_server: log_server,
            network,
            helper,
            clients,
        })
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Sends requests for so long, and reads the CPU time of the server and of the observer meanwhile.
    pub fn load(&self, measured: Duration, observer: Option<u32>) -> Result<Load> {
        let mut command = self.network.vault.command(self.helper);
        let server = self.server.address(Family::V4).to_string();
        command
            .args([
                "load", "--server", &server, "--token", TOKEN, "--path", REQUEST,
            ])
            .args(["--clients", &self.clients.to_string()])
            .args(["--warm-up", &WARM_UP.as_millis().to_string()])
            .args(["--measure", &measured.as_millis().to_string()])
            .args(["--watch", &self.pid().to_string()]);
        if let Some(observer) = observer {
            command.args(["--watch", &observer.to_string()]);
        }
        figures_of("the clients", &mut command, measured + HELPER_LIMIT)
    }

    /// Measures system calls that have nothing to do with the server, while it is idle.
    pub fn bystander(&self) -> Result<Bystander> {
        figures_of(
            "the bystander",
            Command::new(self.helper).arg("bystander"),
            HELPER_LIMIT,
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

/// Runs the helper to its end, and reads the JSON that it printed.
fn figures_of<T: DeserializeOwned>(
    name: &str,
    command: &mut Command,
    limit: Duration,
) -> Result<T> {
    let mut captured = Captured::new(command)?;
    let status = Process::spawn(name, command)?.wait(limit)?;
    let complaint = captured.stderr()?;
    ensure!(
        status.success(),
        "{name} failed ({status}): {}",
        complaint.trim()
    );
    let text = captured.stdout()?;
    serde_json::from_str(&text).with_context(|| format!("{name} printed no figures: {text}"))
}
