//! The tests' own server, `tests/eventlogger`: it audits in goroutines of its own for each entry and
//! each device, as Vault does since 1.15, and answers whatever is asked.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::audit::Endpoint;
use crate::client::Client;
#[cfg(feature = "tls")]
use crate::client::SecureClient;
use crate::netns::Namespace;
use crate::network::Family;
use crate::process::Process;
use crate::server::{DIRECTORY_PREFIX, PORT, TOKEN};
use crate::wait;

/// The environment variable that says in which directory the programs are.
pub const VARIABLE: &str = "VAULT_TRACER_EVENTLOGGER";
/// The Go that most tests use.
pub const NEWEST: &str = "1.27.3";
/// All versions of Go that it is built with: each keeps goroutine IDs elsewhere.
pub const VERSIONS: [&str; 3] = [NEWEST, "1.24.11", "1.21.13"];

/// Under emulation a cold start takes some seconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What the program built with this version of Go is called.
pub fn program(version: &str) -> String {
    format!("go{version}")
}

/// The same without symbols and debugging information.
pub fn stripped(version: &str) -> String {
    format!("go{version}-stripped")
}

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct Eventlogger {
    process: Process,
    directory: TempDir,
    namespace: Namespace,
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    program: String,
    options: Vec<String>,
    devices: Vec<String>,
    to_file: bool,
    tls: bool,
}

impl Eventlogger {
    /// A server to be, built by [`NEWEST`], without any device yet.
    pub fn builder() -> Builder {
        Builder {
            program: program(NEWEST),
            options: Vec::new(),
            devices: Vec::new(),
            to_file: false,
            tls: false,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A client on the same host.
    pub fn client(&self) -> Client {
        Client::new(&self.namespace, address(), TOKEN)
    }

    /// A client on the same host that speaks TLS. Asks for [`Builder::tls`].
    #[cfg(feature = "tls")]
    pub fn secure_client(&self) -> Result<SecureClient> {
        SecureClient::new(self.client(), &certificate(self.directory.path()))
    }

    /// What the file device has written.
    pub fn audit_file(&self) -> PathBuf {
        audit_file(self.directory.path())
    }

    /// What the server itself has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(self.directory.path())).unwrap_or_default()
    }
}

impl Builder {
    /// By another program of [`VARIABLE`]'s directory.
    #[must_use]
    pub fn program(mut self, name: String) -> Self {
        self.program = name;
        self
    }

    /// With an option of its command line: `context=5s`, `order=sorted`, `response-bytes=4900`, ...
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(format!("-{option}"));
        self
    }

    /// With a file device, whose path is then [`Eventlogger::audit_file`].
    #[must_use]
    pub fn audit_to_file(mut self) -> Self {
        self.to_file = true;
        self
    }

    /// With one more socket device. Options: `write_timeout=500ms`, `prefix=TEXT`, `filter`.
    #[must_use]
    pub fn audit_to(mut self, to: &Endpoint, options: &[&str]) -> Self {
        let kind = to.socket_type();
        let device = format!("socket,address={to},socket_type={kind}");
        let words = options.iter().map(|option| format!(",{option}"));
        self.devices.push(device + &words.collect::<String>());
        self
    }

    /// Speaking TLS, and nothing else.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it in `namespace` and waits until it answers.
    pub fn start(&self, namespace: &Namespace) -> Result<Eventlogger> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{DIRECTORY_PREFIX}{}-", std::process::id()))
            .tempdir()?;
        let log = File::create(log_file(directory.path()))?;
        let mut command = namespace.command(self.executable()?);
        command
            .args(self.arguments(directory.path()))
            .env_clear()
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut server = Eventlogger {
            process: Process::spawn("the eventlogger", &mut command)?,
            directory,
            namespace: namespace.clone(),
        };
        server.ready(self.tls)?;
        Ok(server)
    }

    fn executable(&self) -> Result<PathBuf> {
        let directory = env::var_os(VARIABLE).with_context(|| {
            format!("{VARIABLE} is not set: run the live tests by `cargo xtask test`")
        })?;
        Ok(Path::new(&directory).join(&self.program))
    }

    fn arguments(&self, directory: &Path) -> Vec<OsString> {
        let listen = format!("-listen={}", address());
        let mut arguments = vec![OsString::from("server"), listen.into()];
        arguments.extend(self.options.iter().map(OsString::from));
        if self.tls {
            arguments.push(format!("-tls={}", certificate(directory).display()).into());
        }
        if self.to_file {
            let path = audit_file(directory);
            arguments.push(format!("file,path={}", path.display()).into());
        }
        arguments.extend(self.devices.iter().map(OsString::from));
        arguments
    }
}

impl Eventlogger {
    /// Its health is not audited: no device has been used when this returns. A server that speaks TLS
    /// answers what is no TLS, too.
    fn ready(&mut self, tls: bool) -> Result<()> {
        let client = self.client().with_timeout(Duration::from_secs(5));
        let expected = if tls { 400 } else { 200 };
        wait::until("the eventlogger to answer", START_LIMIT, || {
            if let Some(status) = self.process.exited()? {
                bail!("it ended while starting ({status}): {}", self.log());
            }
            let answer = client.get("/v1/sys/health");
            Ok(answer
                .is_ok_and(|answer| answer.status == expected)
                .then_some(()))
        })
    }
}

fn address() -> SocketAddr {
    SocketAddr::new(Family::V4.loopback(), PORT)
}

fn audit_file(directory: &Path) -> PathBuf {
    directory.join("audit.log")
}

fn certificate(directory: &Path) -> PathBuf {
    directory.join("certificate.pem")
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("server.log")
}
