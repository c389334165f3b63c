//! The lab of one case: hosts, a server, its devices, and who takes what it sends.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use lab::{
    AuditDevice, Client, Endpoint, Eventlogger, Family, HttpLog, LogServer, Network, SecureClient,
    Server, eventlogger,
    log_server::Options,
    scenario::PORT,
    server::{self, bao_from_environment},
    setup::{LOG_NAME, NO_NAMES},
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use super::{
    case::{Case, Program, Protocol, Second},
    kind::{Kind, Place},
    receivers::{NameServer, PipeReader, Syslog},
};

/// Of a second device that works.
const OTHER_PORT: u16 = PORT + 1;
/// Go's `log/syslog` tries this path after `/dev/log` and `/var/run/syslog`.
pub(crate) const SYSLOG: &str = "/run/log";
/// Room for some thousand requests.
const DISK: &str = "size=24m";

/// The server.
pub(crate) enum Running {
    OpenBao(Server),
    Vault(Eventlogger),
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::OpenBao(server) => server.pid(),
            Self::Vault(server) => server.pid(),
        }
    }

    pub(crate) fn client(&self, ipv6: bool) -> Client {
        match self {
            Self::OpenBao(server) => server.client(family(ipv6)),
            Self::Vault(server) => server.client(),
        }
    }

    pub(crate) fn secure_client(&self) -> Result<SecureClient> {
        match self {
            Self::OpenBao(server) => server.secure_client(),
            Self::Vault(server) => server.secure_client(),
        }
    }

    pub(crate) fn audit_file(&self) -> PathBuf {
        match self {
            Self::OpenBao(server) => server.audit_file(),
            Self::Vault(server) => server.audit_file(),
        }
    }

    pub(crate) fn log(&self) -> String {
        match self {
            Self::OpenBao(server) => server.log(),
            Self::Vault(server) => server.log(),
        }
    }
}

/// A file system that goes with its scene.
pub(crate) struct Disk(PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        // The mount namespace ends with this process, and the file system with it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// In the order in which they are to be dropped.
pub(crate) struct Scene {
    pub(crate) server: Running,
    /// Those that break; where their log server has been started again, both.
    pub(crate) logs: Vec<LogServer>,
    /// One that does not.
    _other: Option<LogServer>,
    pub(crate) http: Option<HttpLog>,
    pub(crate) syslog: Option<Syslog>,
    pub(crate) pipe: Option<PipeReader>,
    pub(crate) names: Option<NameServer>,
    pub(crate) network: Network,
    _disk: Option<Disk>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) directory: TempDir,
}

pub(crate) fn family(ipv6: bool) -> Family {
    if ipv6 { Family::V6 } else { Family::V4 }
}

impl Scene {
    pub(crate) fn start(case: &Case) -> Result<Self> {
        let network = Network::create(if case.second == Second::None { 1 } else { 2 })?;
        let directory = tempfile::tempdir()?;
        let (place, host) = (case.kind.place(), &network.logs[0]);
        let buffer = format!("4096 16384 {}", case.send_buffer << 10);
        network.vault.sysctl("ipv4/tcp_wmem", &buffer)?;
        let endpoints = endpoints(case, &network, directory.path());
        let hosts = network.logs.iter();
        let logs = hosts
            .zip(&endpoints)
            .map(|(host, at)| log_server(case, at).start(&host.namespace));
        let logs = logs.collect::<Result<Vec<_>>>()?;
        let at = |port| host.port(family(case.ipv6), port);
        let is = |wanted| place == wanted;
        let http = is(Place::Http).then(|| HttpLog::start(&host.namespace, at(PORT)));
        let syslog = is(Place::Syslog).then(|| Syslog::start(&network.vault, Path::new(SYSLOG)));
        let pipe = is(Place::Pipe).then(|| PipeReader::make(&pipe(&directory)));
        let disk = is(Place::Disk).then(|| mount_disk(directory.path()));
        let other = other(case, &network);
        let other_log = other
            .as_ref()
            .map(|at| LogServer::start(&network.logs[1].namespace, at.clone()));
        let (http, other_log) = (http.transpose()?, other_log.transpose()?);
        let (syslog, pipe, disk) = (syslog.transpose()?, pipe.transpose()?, disk.transpose()?);
        let names = is(Place::Name).then(|| name_server(&network)).transpose()?;
        let devices = Devices {
            case,
            endpoints: &endpoints,
            other: other.as_ref(),
            http: at(PORT),
            directory: &directory,
        };
        Ok(Self {
            server: devices.start(&network)?,
            logs,
            _other: other_log,
            http,
            syslog,
            pipe,
            names,
            network,
            _disk: disk,
            endpoints,
            directory,
        })
    }

    /// The file on the disk that fills.
    pub(crate) fn disk_file(&self) -> PathBuf {
        disk_file(&self.directory)
    }

    /// Addresses of what breaks, as a trace has them.
    pub(crate) fn addresses(&self, case: &Case) -> Vec<String> {
        match case.kind.place() {
            Place::Name => vec![format!("{LOG_NAME}:{PORT}")],
            Place::Http => vec![format!(
                "http://{}",
                self.network.logs[0].port(family(case.ipv6), PORT)
            )],
            Place::Syslog => vec![SYSLOG.to_owned(), "/var/run/log".to_owned()],
            Place::Disk => vec![self.disk_file().display().to_string()],
            Place::Pipe => vec![pipe(&self.directory).display().to_string()],
            Place::Tcp | Place::Unix | Place::Udp => {
                self.endpoints.iter().map(Endpoint::to_string).collect()
            }
        }
    }

    /// Starts the log servers again.
    pub(crate) fn restart_logs(&mut self, case: &Case) -> Result<()> {
        for (host, at) in self.network.logs.iter().zip(&self.endpoints) {
            self.logs.push(log_server(case, at).start(&host.namespace)?);
        }
        Ok(())
    }
}

fn pipe(directory: &TempDir) -> PathBuf {
    directory.path().join("audit.pipe")
}

fn disk_file(directory: &TempDir) -> PathBuf {
    directory.path().join("disk/logs/audit.log")
}

fn mount_disk(directory: &Path) -> Result<Disk> {
    let at = directory.join("disk");
    fs::create_dir(&at)?;
    mount(
        Some("tmpfs"),
        &at,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(DISK),
    )?;
    let disk = Disk(at);
    fs::create_dir(disk.0.join("logs"))?;
    Ok(disk)
}

fn name_server(network: &Network) -> Result<NameServer> {
    let host = &network.logs[0];
    let IpAddr::V4(address) = host.address(Family::V4) else {
        bail!("no IPv4");
    };
    NameServer::start(
        &host.namespace,
        SocketAddr::new(address.into(), 53),
        address,
    )
}

/// Where log servers listen that break.
fn endpoints(case: &Case, network: &Network, directory: &Path) -> Vec<Endpoint> {
    let count = if case.second == Second::Broken { 2 } else { 1 };
    let ports = network.logs.iter().take(count);
    let mut ports = ports.map(|host| host.port(family(case.ipv6), PORT));
    match case.kind.place() {
        Place::Tcp | Place::Name => ports.map(Endpoint::Tcp).collect(),
        Place::Udp => ports.next().map(Endpoint::Udp).into_iter().collect(),
        Place::Unix => vec![Endpoint::Unix(directory.join("log.sock"))],
        Place::Http | Place::Syslog | Place::Disk | Place::Pipe => Vec::new(),
    }
}

fn log_server(case: &Case, at: &Endpoint) -> Options {
    let options = Options::new(at.clone());
    match case.kind {
        // Else the kernel takes megabytes before the window closes.
        Kind::ReaderStopped | Kind::ReaderSlow => options.receive_buffer(4096),
        _ => options,
    }
}

/// Where a second device goes that works.
fn other(case: &Case, network: &Network) -> Option<Endpoint> {
    let is_healthy = case.second == Second::Healthy;
    is_healthy.then(|| Endpoint::Tcp(network.logs[1].port(family(case.ipv6), OTHER_PORT)))
}

/// What the server audits to.
struct Devices<'a> {
    case: &'a Case,
    endpoints: &'a [Endpoint],
    other: Option<&'a Endpoint>,
    http: SocketAddr,
    directory: &'a TempDir,
}

impl Devices<'_> {
    fn start(&self, network: &Network) -> Result<Running> {
        match self.case.program {
            Program::OpenBao => self.openbao()?.start(&network.vault).map(Running::OpenBao),
            Program::Vault {
                generation,
                context,
                build,
            } => {
                let options = [
                    format!("generation={generation}"),
                    format!("context={context}"),
                ];
                let server = self.vault().program(build.to_owned());
                let server = options
                    .iter()
                    .fold(server, |server, option| server.option(option));
                server.start(&network.vault).map(Running::Vault)
            }
        }
        .context("the server")
    }

    /// `write_timeout` of the devices that break, and of others.
    fn timeouts(&self) -> (String, &'static str) {
        let own = match self.case.kind {
            Kind::ZeroTimeout => "0s".to_owned(),
            _ => format!("{}ms", self.case.write_timeout),
        };
        (own, "2s")
    }

    fn vault(&self) -> eventlogger::Builder {
        let (own, others) = self.timeouts();
        let large = self.case.kind.sends_large_entries();
        let length = if large { 60_000 } else { 4000 };
        let mut server = Eventlogger::builder().option(&format!("response-bytes={length}"));
        if !self.case.alone {
            server = server.audit_to_file();
        }
        for at in self.endpoints {
            server = server.audit_to(at, &[&format!("write_timeout={own}")]);
        }
        if let Some(at) = self.other {
            server = server.audit_to(at, &[&format!("write_timeout={others}")]);
        }
        if self.case.protocol == Protocol::Http1 {
            server
        } else {
            server.tls()
        }
    }

    fn openbao(&self) -> Result<server::Builder> {
        let mut server = Server::builder(&bao_from_environment()?);
        if !self.case.alone {
            server = server.audit_to_file();
        }
        for device in self.broken() {
            server = server.audit(device);
        }
        if let Some(at) = self.other {
            server = server.audit(AuditDevice::socket("other", at));
        }
        if self.case.kind.place() == Place::Name {
            let names = IpAddr::V4([10, 77, 0, 2].into());
            server = server.resolver(names, NO_NAMES);
        }
        Ok(if self.case.protocol == Protocol::Http1 {
            server
        } else {
            server.tls()
        })
    }

    fn broken(&self) -> Vec<AuditDevice> {
        let (own, _) = self.timeouts();
        let socket = |at: &Endpoint, number: usize| {
            let mut device = AuditDevice::socket(&format!("broken{number}"), at);
            if self.case.kind == Kind::ZeroTimeout {
                // Else the server refuses to start.
                device = device.option("skip_test", "true");
            }
            device.option("write_timeout", &own)
        };
        match self.case.kind.place() {
            Place::Name => vec![socket(&Endpoint::TcpName(format!("{LOG_NAME}:{PORT}")), 0)],
            Place::Http => vec![AuditDevice::http("broken", self.http)],
            Place::Syslog => vec![AuditDevice::syslog("broken")],
            Place::Disk => vec![AuditDevice::file("broken", &disk_file(self.directory))],
            Place::Pipe => vec![AuditDevice::file("broken", &pipe(self.directory))],
            Place::Tcp | Place::Unix | Place::Udp => {
                let numbers = self.endpoints.iter().zip(0..);
                numbers.map(|(at, number)| socket(at, number)).collect()
            }
        }
    }
}
