//! Two servers that share a raft: one is active, the other forwards to it what it is asked.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::audit::AuditDevice;
use crate::client::Client;
use crate::netns::Namespace;
use crate::network::Family;
use crate::process::Process;
use crate::server::{DIRECTORY_PREFIX, Product, START_LIMIT, TOKEN};
use crate::wait;

/// Of the first and the second server; the next port is that of the cluster's own traffic.
const PORTS: [u16; 2] = [8200, 8400];

/// Both servers. Stopped when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The first one became active at the start.
    pub nodes: [Node; 2],
    _directory: TempDir,
}

/// One of the two.
#[derive(Debug)]
pub struct Node {
    process: Process,
    address: SocketAddr,
    namespace: Namespace,
    token: String,
}

impl Cluster {
    /// Starts both with these audit devices. Raft's time-outs are 1 s or 0.5 s times `patience`.
    pub fn start(
        bao: &Path,
        namespace: &Namespace,
        devices: &[AuditDevice],
        patience: u8,
    ) -> Result<Self> {
        let (product, _) = Product::ask(bao)?;
        // What is configured must be the same on both, so each finds its own file from where it is.
        let file = AuditDevice::file("to-file", Path::new("audit.log"));
        let devices: Vec<_> = devices.iter().cloned().chain([file]).collect();
        let stanzas = product.stanzas(&devices);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{DIRECTORY_PREFIX}{}-", std::process::id()))
            .tempdir()?;
        let [first, second] = PORTS.map(|port| {
            let files = directory.path().join(port.to_string());
            Node::start(bao, namespace, &files, port, (&stanzas, patience))
        });
        let mut nodes = [first?, second?];
        let [active, standby] = &mut nodes;
        let init = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let secrets = active.put("sys/init", &init)?;
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let key = text(&secrets["keys"][0]).context("no unseal key")?;
        let token = text(&secrets["root_token"]).context("no root token")?;
        active.put("sys/unseal", &json!({ "key": key }))?;
        active.wait_to_lead()?;
        standby.token.clone_from(&token);
        active.token = token;
        // Else the standby has no vote for its first 10 s.
        let soon = json!({ "server_stabilization_time": "500ms" });
        active.put("sys/storage/raft/autopilot/configuration", &soon)?;
        let leader = json!({ "leader_api_addr": format!("http://{}", active.address) });
        standby.put("sys/storage/raft/join", &leader)?;
        standby.put("sys/unseal", &json!({ "key": key }))?;
        wait::until("the standby to serve and to vote", START_LIMIT, || {
            Ok(standby.all_vote().then_some(()))
        })?;
        product.enable(&devices, &active.client())?;
        Ok(Self {
            nodes,
            _directory: directory,
        })
    }
}

impl Node {
    fn start(
        bao: &Path,
        namespace: &Namespace,
        files: &Path,
        port: u16,
        (stanzas, patience): (&str, u8),
    ) -> Result<Self> {
        fs::create_dir_all(files.join("raft"))?;
        let config = files.join("server.hcl");
        fs::write(&config, to_hcl(files, port, stanzas, patience))?;
        let log = File::create(files.join("server.log"))?;
        let mut command = namespace.command(bao);
        command
            .arg("server")
            .arg(format!("-config={}", config.display()))
            .env_clear()
            .env("HOME", files)
            .current_dir(files)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let node = Self {
            process: Process::spawn("the server", &mut command)?,
            address: SocketAddr::new(Family::V4.loopback(), port),
            namespace: namespace.clone(),
            token: TOKEN.to_owned(),
        };
        wait::until("the server to answer", START_LIMIT, || {
            Ok(node.client().get("/v1/sys/seal-status").ok())
        })?;
        Ok(node)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A client on the same host.
    pub fn client(&self) -> Client {
        Client::new(&self.namespace, self.address, &self.token)
    }

    /// Whether it is the active one.
    pub fn leads(&self) -> Result<bool> {
        let answer = self.client().get("/v1/sys/leader")?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        Ok(answer["is_self"] == true)
    }

    /// Waits until it is the active one.
    pub fn wait_to_lead(&self) -> Result<()> {
        wait::until("the server to be active", START_LIMIT, || {
            Ok(self.leads()?.then_some(()))
        })
    }

    /// Sends it a signal: stopped, it takes no part in anything.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Whether each server has a vote in the raft, asked through this one.
    fn all_vote(&self) -> bool {
        let answer = self.client().get("/v1/sys/storage/raft/configuration");
        let body = answer.map(|answer| answer.body).unwrap_or_default();
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let servers = answer["data"]["config"]["servers"].as_array();
        let all = |servers: &Vec<Value>| servers.iter().all(|server| server["voter"] == true);
        servers.is_some_and(|servers| servers.len() == PORTS.len() && all(servers))
    }

    fn put(&self, path: &str, body: &Value) -> Result<Value> {
        let client = self.client().with_timeout(Duration::from_secs(20));
        let answer = client.put(&format!("/v1/{path}"), body)?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status < 300, "{path}: {} {text}", answer.status);
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

fn to_hcl(files: &Path, port: u16, stanzas: &str, patience: u8) -> String {
    let data = files.join("raft");
    format!(
        "storage \"raft\" {{
  path = \"{}\"
  node_id = \"{port}\"
  performance_multiplier = {patience}
  autopilot_reconcile_interval = \"500ms\"
  autopilot_update_interval = \"500ms\"
}}
listener \"tcp\" {{
  address = \"127.0.0.1:{port}\"
  tls_disable = true
}}
api_addr = \"http://127.0.0.1:{port}\"
cluster_addr = \"https://127.0.0.1:{}\"
{stanzas}",
        data.display(),
        port + 1,
    )
}
