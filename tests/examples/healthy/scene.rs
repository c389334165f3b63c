//! The server, its devices, and what changes about them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use lab::{
    AuditDevice, Client, Endpoint, Family, HttpLog, Network, Server, Tracer,
    server::{Builder, bao_from_environment},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{kubernetes, receivers};

/// Go's `log/syslog` and Hashicorp's look there, after `/dev/log` and `/var/run/syslog`.
const SYSLOG: &str = "/run/log";
const RESTART_LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Scene {
    server: Option<Server>,
    builder: Builder,
    /// The device that comes and goes.
    guest: String,
    pub(crate) changes: usize,
    /// The APIs of Kubernetes clusters.
    clusters: [SocketAddr; 2],
    network: Network,
    _http: HttpLog,
    _directory: TempDir,
}

impl Scene {
    pub(crate) fn start(name: &str, two_devices: bool, http_closes: bool) -> Result<Self> {
        let network = Network::create(1)?;
        let host = &network.logs[0];
        let directory = tempfile::tempdir()?;
        let at = |port| host.port(Family::V4, port);
        let unix = directory.path().join("log.sock");
        receivers::tcp(&host.namespace, at(1515))?;
        receivers::tcp(&host.namespace, at(1518))?;
        receivers::udp(&host.namespace, at(1516))?;
        receivers::unix(&unix)?;
        receivers::syslog(Path::new(SYSLOG))?;
        let http = HttpLog::start(&host.namespace, at(1517))?;
        if http_closes {
            http.close_each_connection();
        }
        let clusters = [at(6443), at(6444)];
        for (at, closes) in clusters.into_iter().zip([true, false]) {
            kubernetes::start(&host.namespace, at, closes)?;
        }
        let socket = |name, to: &Endpoint| AuditDevice::socket(name, to);
        let mut builder = Server::builder(&bao_from_environment()?)
            .program_name(name)
            .audit_to_file()
            .audit(socket("tcp", &Endpoint::Tcp(at(1515))));
        if !two_devices {
            builder = builder
                .audit(socket("udp", &Endpoint::Udp(at(1516))))
                .audit(socket("unix", &Endpoint::Unix(unix)))
                .audit(AuditDevice::syslog("syslog"))
                .audit(AuditDevice::http("http", at(1517)));
        }
        let guest = format!(
            "\naudit \"socket\" \"guest\" {{\n  options {{\n    address = \"{}\"\n    socket_type = \"tcp\"\n  }}\n}}\n",
            at(1518)
        );
        Ok(Self {
            server: Some(builder.start(&network.vault)?),
            builder,
            guest,
            changes: 0,
            clusters,
            network,
            _http: http,
            _directory: directory,
        })
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.server.as_ref().expect("it runs");
        server.client(Family::V4)
    }

    pub(crate) fn clusters(&self) -> [SocketAddr; 2] {
        self.clusters
    }

    /// A new audit file, and a device more or less.
    pub(crate) fn change(&mut self) -> Result<()> {
        let server = self.server.as_ref().context("it runs")?;
        self.changes += 1;
        let audit = server.audit_file();
        fs::rename(&audit, audit.with_extension("old"))?;
        let path = config_of(server.pid())?;
        let config = fs::read_to_string(&path)?;
        let changed = match config.strip_suffix(&self.guest) {
            Some(without) => without.to_owned(),
            None => config + &self.guest,
        };
        fs::write(&path, changed)?;
        kill(Pid::from_raw(server.pid().cast_signed()), Signal::SIGHUP)?;
        Ok(())
    }

    /// What the server says of its devices: an entry that one did not take is no false alarm.
    pub(crate) fn print_errors(&self) {
        let log = self.server.as_ref().map(Server::log).unwrap_or_default();
        let errors = log.lines().filter(|line| line.contains("[ERROR] audit:"));
        errors.for_each(|line| println!("the server: {line}"));
    }

    /// The server ends and starts again; returns when the agent traces it.
    pub(crate) fn restart(&mut self, tracer: &Tracer) -> Result<()> {
        self.print_errors();
        drop(self.server.take());
        thread::sleep(Duration::from_secs(1)); // long enough to notice
        let server = self.builder.start(&self.network.vault)?;
        let pid = server.pid();
        self.server = Some(server);
        tracer.wait_for("the agent to attach again", RESTART_LIMIT, |record| {
            record["type"] == "attached" && record["pid"] == pid
        })?;
        Ok(())
    }
}

/// The configuration file of a server.
fn config_of(pid: u32) -> Result<PathBuf> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    let path = line
        .split('\0')
        .find_map(|word| word.strip_prefix("-config="));
    path.map(PathBuf::from).context("no configuration")
}
