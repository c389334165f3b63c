//! A real `OpenBao` server.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::audit::AuditDevice;
use crate::client::Client;
use crate::netns::Namespace;
use crate::network::Family;
use crate::process::{Identity, Process};
use crate::wait;

/// Where it listens, on 127.0.0.1 and `::1` of its namespace.
pub const PORT: u16 = 8200;
/// Its root token.
pub const TOKEN: &str = "root";
/// Followed by our pid, in the name of the directory a server keeps its things in.
pub(crate) const DIRECTORY_PREFIX: &str = "vault-tracer-lab-";
/// Under emulation a cold start takes 5 s.
const START_LIMIT: Duration = Duration::from_mins(1);

/// The environment variable that says where the `bao` program is.
pub const BAO_VARIABLE: &str = "VAULT_TRACER_BAO";

/// The `bao` program of the tests, as `cargo xtask test` hands it down.
pub fn bao_from_environment() -> Result<PathBuf> {
    let path = std::env::var_os(BAO_VARIABLE).map(PathBuf::from);
    path.with_context(|| {
        format!("{BAO_VARIABLE} is not set: run the live tests by `cargo xtask test`")
    })
}

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    files: Files,
    namespace: Namespace,
    _temporary: Option<TempDir>,
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    bao: PathBuf,
    devices: Vec<AuditDevice>,
    config: String,
    storage_latency: Duration,
    resolver: Option<(IpAddr, String)>,
}

/// Where a server keeps its things.
#[derive(Debug, Clone)]
struct Files(PathBuf);

impl Files {
    fn log(&self) -> PathBuf {
        self.0.join("server.log")
    }

    fn config(&self) -> PathBuf {
        self.0.join("server.hcl")
    }

    fn audit(&self) -> PathBuf {
        self.0.join("audit.log")
    }

    fn hosts(&self) -> PathBuf {
        self.0.join("hosts")
    }

    fn resolv_conf(&self) -> PathBuf {
        self.0.join("resolv.conf")
    }
}

impl Server {
    /// A server to be: the file device `to-file`, and nothing else yet.
    pub fn builder(bao: &Path) -> Builder {
        Builder {
            bao: bao.to_owned(),
            devices: Vec::new(),
            config: String::new(),
            storage_latency: Duration::ZERO,
            resolver: None,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self, family: Family) -> SocketAddr {
        address(family)
    }

    /// A client on the same host.
    pub fn client(&self, family: Family) -> Client {
        Client::new(&self.namespace, address(family), TOKEN)
    }

    /// What the file device has written.
    pub fn audit_file(&self) -> PathBuf {
        self.files.audit()
    }

    /// What the server itself has logged.
    pub fn log(&self) -> String {
        read_log(&self.files)
    }

    /// The server's `/etc/hosts`, if the builder was given a [`Builder::resolver`]: rewrite it in place to
    /// change what a name means. Go looks again after 5 s.
    pub fn hosts_file(&self) -> PathBuf {
        self.files.hosts()
    }

    /// Stops it.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop()
    }
}

impl Builder {
    /// With one more audit device.
    #[must_use]
    pub fn audit(mut self, device: AuditDevice) -> Self {
        self.devices.push(device);
        self
    }

    /// With the file device `to-file`, whose path is then [`Server::audit_file`].
    #[must_use]
    pub fn audit_to_file(self) -> Self {
        self.audit(AuditDevice::file("to-file", Path::new("")))
    }

    /// With more lines in its configuration.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self
    }

    /// With a storage that takes so long for each access.
    #[must_use]
    pub fn storage_latency(mut self, latency: Duration) -> Self {
        self.storage_latency = latency;
        self
    }

    /// With an `/etc/resolv.conf` that names this name server only, and this `/etc/hosts`.
    #[must_use]
    pub fn resolver(mut self, name_server: IpAddr, hosts: &str) -> Self {
        self.resolver = Some((name_server, hosts.to_owned()));
        self
    }

    /// Starts it in `namespace` and waits until it answers. The audit devices' log servers must be listening.
    pub fn start(&self, namespace: &Namespace) -> Result<Server> {
        let temporary = tempfile::Builder::new()
            .prefix(&format!("{DIRECTORY_PREFIX}{}-", std::process::id()))
            .tempdir()?;
        let files = Files(temporary.path().to_owned());
        let process = Process::spawn("OpenBao", &mut self.command(namespace, &files)?)?;
        let mut server = Server {
            process,
            files,
            namespace: namespace.clone(),
            _temporary: Some(temporary),
        };
        let Server { process, files, .. } = &mut server;
        ready(namespace, files, || {
            process
                .exited()
                .map(|status| status.map(|status| status.to_string()))
        })?;
        Ok(server)
    }

    /// Starts it with its files in `directory`, tied to nothing: it stays when we end.
    pub fn start_detached(&self, namespace: &Namespace, directory: &Path) -> Result<Identity> {
        let files = Files(directory.to_owned());
        let server = Identity::spawn_detached("OpenBao", &mut self.command(namespace, &files)?)?;
        let started = ready(namespace, &files, || {
            Ok((!server.alive()).then(|| "see its log".to_owned()))
        });
        started.or_else(|error| server.stop().and(Err(error)))?;
        Ok(server)
    }

    fn command(&self, namespace: &Namespace, files: &Files) -> Result<Command> {
        fs::write(files.config(), self.to_hcl(files))
            .context("cannot write the server's configuration")?;
        let log = File::create(files.log()).context("cannot create the server's log")?;
        let mut command = namespace.command(&self.bao);
        command
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .arg(format!("-dev-latency={}", self.storage_latency.as_millis()))
            .arg(format!("-dev-listen-address={}", address(Family::V4)))
            .arg(format!("-config={}", files.config().display()))
            .env_clear()
            .env("HOME", &files.0)
            .current_dir(&files.0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some((name_server, hosts)) = &self.resolver {
            fs::write(files.hosts(), hosts)?;
            fs::write(files.resolv_conf(), format!("nameserver {name_server}\n"))?;
            with_resolver_files(&mut command, files)?;
        }
        Ok(command)
    }

    fn to_hcl(&self, files: &Files) -> String {
        let mut config = format!(
            "listener \"tcp\" {{\n  address = \"{}\"\n  tls_disable = true\n}}\n",
            address(Family::V6)
        );
        for device in &self.devices {
            let in_place = device
                .file_path()
                .is_some_and(|path| path.as_os_str().is_empty());
            let device = if in_place {
                &AuditDevice::file("to-file", &files.audit())
            } else {
                device
            };
            config.push_str(&device.to_hcl());
        }
        config + &self.config
    }
}

fn address(family: Family) -> SocketAddr {
    SocketAddr::new(family.loopback(), PORT)
}

/// Waits until an authenticated request succeeds. `ended` says why the server is gone, once it is.
fn ready(
    namespace: &Namespace,
    files: &Files,
    mut ended: impl FnMut() -> Result<Option<String>>,
) -> Result<()> {
    let client =
        Client::new(namespace, address(Family::V4), TOKEN).with_timeout(Duration::from_secs(20));
    let answered = wait::until("OpenBao to answer", START_LIMIT, || {
        if let Some(why) = ended()? {
            bail!("OpenBao ended while starting: {why}");
        }
        let answer = client.get("/v1/auth/token/lookup-self");
        Ok(answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(()))
    });
    answered.or_else(|error| {
        let log = read_log(files);
        bail!(
            "OpenBao did not start: {error:#}; the end of its log:\n{}",
            tail(&log)
        )
    })
}

fn read_log(files: &Files) -> String {
    fs::read(files.log())
        .map(|log| String::from_utf8_lossy(&log).into_owned())
        .unwrap_or_default()
}

/// Enough of a log to see why it ends.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Gives the process a mount namespace in which the resolver's files are ours.
fn with_resolver_files(command: &mut Command, files: &Files) -> Result<()> {
    let source = |path: PathBuf| CString::new(path.as_os_str().as_bytes());
    let (hosts, resolv_conf) = (source(files.hosts())?, source(files.resolv_conf())?);
    let prepare = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Nothing mounted here may show anywhere else.
        mount(
            None::<&CStr>,
            c"/",
            None::<&CStr>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&CStr>,
        )?;
        bind(&hosts, c"/etc/hosts")?;
        bind(&resolv_conf, c"/etc/resolv.conf")
    };
    // SAFETY: system calls on strings made beforehand; nothing is allocated between fork and exec.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

fn bind(source: &CStr, target: &CStr) -> std::io::Result<()> {
    mount(
        Some(source),
        target,
        None::<&CStr>,
        MsFlags::MS_BIND,
        None::<&CStr>,
    )
    .map_err(Into::into)
}
