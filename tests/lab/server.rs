//! A real server: `OpenBao`, or Vault where [`BAO_VARIABLE`] names that.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::client::Client;
#[cfg(feature = "tls")]
use crate::client::SecureClient;
use crate::netns::Namespace;
use crate::network::Family;
use crate::process::{Identity, Process};
use crate::wait;

mod builder;
mod container;
mod mounts;
mod product;

pub use builder::Builder;
pub use product::Product;

/// Where it listens, on 127.0.0.1 and `::1` of its namespace.
pub const PORT: u16 = 8200;
/// Where it listens with TLS, on 127.0.0.1, if the builder asked for it: [`Builder::tls`].
pub const TLS_PORT: u16 = 8300;
/// Its root token.
pub const TOKEN: &str = "root";
/// Followed by our pid, in the name of the directory a server keeps its things in.
pub(crate) const DIRECTORY_PREFIX: &str = "vault-tracer-lab-";
/// Under emulation a cold start takes 5 s.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(1);

/// The environment variable that says where the `bao` or `vault` program is.
pub const BAO_VARIABLE: &str = "VAULT_TRACER_BAO";

/// The `bao` or `vault` program of the tests, as `cargo xtask test` hands it down.
pub fn bao_from_environment() -> Result<PathBuf> {
    let path = std::env::var_os(BAO_VARIABLE).map(PathBuf::from);
    path.with_context(|| {
        format!("{BAO_VARIABLE} is not set: run the live tests by `cargo xtask test`")
    })
}

/// The `tie` of requests whose entries the server of the tests itself writes: `goroutine`, or `lineage` where sinks do.
pub fn usual_tie() -> Result<&'static str> {
    let (product, version) = Product::ask(&bao_from_environment()?)?;
    Ok(product.usual_tie(&version))
}

/// A name that no other process's lab gives its server, for who attaches by name.
pub fn own_name(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// In a container and below a shell, `process` is what made it, and this is the server.
    inner: Option<Identity>,
    files: Files,
    namespace: Namespace,
    bao: PathBuf,
    _temporary: Option<TempDir>,
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

    /// Named by the server, which makes it at its start.
    fn authority(&self) -> PathBuf {
        self.0.join("vault-ca.pem")
    }
}

impl Server {
    /// A server to be: the file device `to-file`, and nothing else yet.
    pub fn builder(bao: &Path) -> Builder {
        Builder::new(bao)
    }

    /// Its process id, as the host knows it.
    pub fn pid(&self) -> u32 {
        self.inner.map_or(self.process.pid(), |inner| inner.pid)
    }

    /// Its executable, as the host knows it. It is the server's own, to be removed or replaced, if the builder was
    /// given a [`Builder::program_name`] or [`Builder::contained`].
    pub fn executable(&self) -> &Path {
        &self.bao
    }

    /// What its process is called: `bao`, `vault`.
    pub fn name(&self) -> String {
        let name = self.bao.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Where it listens.
    pub fn address(&self, family: Family) -> SocketAddr {
        address(family)
    }

    /// A client on the same host.
    pub fn client(&self, family: Family) -> Client {
        Client::new(&self.namespace, address(family), TOKEN)
    }

    /// A client on the same host that speaks TLS. Asks for [`Builder::tls`].
    #[cfg(feature = "tls")]
    pub fn secure_client(&self) -> Result<SecureClient> {
        let client = Client::new(&self.namespace, tls_address(), TOKEN);
        SecureClient::new(client, &self.files.authority())
    }

    /// The server's own command line, on the same host, over TLS. Asks for [`Builder::tls`].
    pub fn command_line(&self) -> Command {
        let mut command = self.namespace.command(&self.bao);
        command
            .env_clear()
            .env("HOME", &self.files.0)
            .env("BAO_ADDR", format!("https://{}", tls_address()))
            .env("BAO_CACERT", self.files.authority())
            .env("BAO_TOKEN", TOKEN)
            .env("VAULT_ADDR", format!("https://{}", tls_address()))
            .env("VAULT_CACERT", self.files.authority())
            .env("VAULT_TOKEN", TOKEN);
        command
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

    /// What unseals it.
    pub fn unseal_key(&self) -> Result<String> {
        let log = self.log();
        let key = log
            .lines()
            .find_map(|line| line.trim().strip_prefix("Unseal Key: "));
        key.map(ToOwned::to_owned)
            .context("the server's log has no unseal key")
    }

    /// Kills it by SIGKILL, and waits until the kernel has taken it away.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(START_LIMIT).map(drop)
    }

    /// Stops it.
    pub fn stop(&mut self) -> Result<()> {
        // What made the container heeds no signal, and ends with it.
        self.inner.take().map_or(Ok(()), |inner| inner.stop())?;
        self.process.stop()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("lab: {error:#}");
        }
    }
}

fn tls_address() -> SocketAddr {
    SocketAddr::new(Family::V4.loopback(), TLS_PORT)
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
    let answered = wait::until("the server to answer", START_LIMIT, || {
        if let Some(why) = ended()? {
            bail!("it ended while starting: {why}");
        }
        let answer = client.get("/v1/auth/token/lookup-self");
        Ok(answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(()))
    });
    answered.or_else(|error| {
        let log = read_log(files);
        bail!(
            "the server did not start: {error:#}; the end of its log:\n{}",
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
