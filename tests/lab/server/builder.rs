//! How a server is started.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    DIRECTORY_PREFIX, Files, Product, Server, TOKEN, address, container, mounts, ready, tls_address,
};
use crate::audit::AuditDevice;
use crate::client::Client;
use crate::netns::Namespace;
use crate::network::Family;
use crate::process::{Identity, Process};

/// `$1` is the server, which ends with the shell.
const BY_SHELL: &str = r#"setpriv --pdeathsig KILL "$@"; exit $?"#;

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    bao: PathBuf,
    devices: Vec<AuditDevice>,
    config: String,
    storage_latency: Duration,
    resolver: Option<(IpAddr, String)>,
    tls: bool,
    program_name: Option<String>,
    contained: bool,
    by_shell: bool,
}

impl Builder {
    pub(super) fn new(bao: &Path) -> Self {
        Self {
            bao: bao.to_owned(),
            devices: Vec::new(),
            config: String::new(),
            storage_latency: Duration::ZERO,
            resolver: None,
            tls: false,
            program_name: None,
            contained: false,
            by_shell: false,
        }
    }

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

    /// With one more listener, which speaks TLS and, to who asks for it, HTTP/2.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With an executable of its own that has this name.
    #[must_use]
    pub fn program_name(mut self, name: &str) -> Self {
        self.program_name = Some(name.to_owned());
        self
    }

    /// As a container runtime starts it: with mounts and processes of its own, and an executable and an audit file
    /// whose paths mean nothing on the host.
    #[must_use]
    pub fn contained(mut self) -> Self {
        self.contained = true;
        self.program_name("bao")
    }

    /// As the child of a shell that waits for it.
    #[must_use]
    pub fn started_by_a_shell(mut self) -> Self {
        self.by_shell = true;
        self
    }

    /// Starts it in `namespace` and waits until it answers. The audit devices' log servers must be listening.
    pub fn start(&self, namespace: &Namespace) -> Result<Server> {
        let temporary = tempfile::Builder::new()
            .prefix(&format!("{DIRECTORY_PREFIX}{}-", std::process::id()))
            .tempdir()?;
        let files = Files(temporary.path().to_owned());
        let product = self.product()?;
        let bao = self.program(&files)?;
        let mut command = self.command(namespace, &files, (&bao, product))?;
        let process = Process::spawn("the server", &mut command)?;
        let mut server = Server {
            process,
            inner: None,
            files,
            namespace: namespace.clone(),
            bao,
            _temporary: Some(temporary),
        };
        let Server { process, files, .. } = &mut server;
        ready(namespace, files, || {
            process
                .exited()
                .map(|status| status.map(|status| status.to_string()))
        })?;
        if self.contained || self.by_shell {
            server.inner = Some(only_child(server.process.pid())?);
        }
        self.enable_devices(product, namespace, &server.files)?;
        Ok(server)
    }

    /// Starts it with its files in `directory`, tied to nothing: it stays when we end.
    pub fn start_detached(&self, namespace: &Namespace, directory: &Path) -> Result<Identity> {
        let files = Files(directory.to_owned());
        let product = self.product()?;
        let mut command = self.command(namespace, &files, (&self.bao, product))?;
        let server = Identity::spawn_detached("the server", &mut command)?;
        let started = ready(namespace, &files, || {
            Ok((!server.alive()).then(|| "see its log".to_owned()))
        });
        let started = started.and_then(|()| self.enable_devices(product, namespace, &files));
        started.or_else(|error| server.stop().and(Err(error)))?;
        Ok(server)
    }

    /// The executable that it runs.
    fn program(&self, files: &Files) -> Result<PathBuf> {
        let Some(name) = &self.program_name else {
            return Ok(self.bao.clone());
        };
        let own = files.0.join(name);
        fs::copy(&self.bao, &own).with_context(|| format!("cannot copy {}", self.bao.display()))?;
        Ok(own)
    }

    /// Fails if it has not all that is asked for.
    fn product(&self) -> Result<Product> {
        let (product, _) = Product::ask(&self.bao)?;
        product.require(&self.devices)?;
        Ok(product)
    }

    fn enable_devices(&self, product: Product, namespace: &Namespace, files: &Files) -> Result<()> {
        let root = Client::new(namespace, address(Family::V4), TOKEN);
        product.enable(&self.devices(&self.seen(files)), &root)
    }

    /// As the server sees its files.
    fn seen(&self, files: &Files) -> Files {
        if self.contained {
            container::files()
        } else {
            files.clone()
        }
    }

    fn command(
        &self,
        namespace: &Namespace,
        files: &Files,
        (bao, product): (&Path, Product),
    ) -> Result<Command> {
        let seen = &self.seen(files);
        fs::write(files.config(), self.to_hcl(product, seen))
            .context("cannot write the server's configuration")?;
        let log = File::create(files.log()).context("cannot create the server's log")?;
        let mut command = if self.contained {
            container::command(namespace, files, bao)?
        } else if self.by_shell {
            let mut shell = namespace.command("sh");
            shell.args(["-c", BY_SHELL, "sh"]).arg(bao);
            shell
        } else {
            namespace.command(bao)
        };
        command
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .arg(format!("-dev-latency={}", self.storage_latency.as_millis()))
            .arg(format!("-config={}", seen.config().display()))
            .env_clear()
            .env("HOME", &seen.0)
            .current_dir(&files.0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if self.tls {
            // The server makes a certificate for its own first listener only.
            command.args([
                format!("-dev-listen-address={}", tls_address()),
                "-dev-tls".to_owned(),
                format!("-dev-tls-cert-dir={}", seen.0.display()),
            ]);
        } else {
            command.arg(format!("-dev-listen-address={}", address(Family::V4)));
        }
        if let Some((name_server, hosts)) = &self.resolver {
            fs::write(files.hosts(), hosts)?;
            fs::write(files.resolv_conf(), format!("nameserver {name_server}\n"))?;
            mounts::with_resolver_files(&mut command, files)?;
        }
        Ok(command)
    }

    /// As the server sees its files.
    fn to_hcl(&self, product: Product, files: &Files) -> String {
        let mut config = listener(address(Family::V6));
        if self.tls {
            config.push_str(&listener(address(Family::V4)));
        }
        config + &product.stanzas(&self.devices(files)) + &self.config
    }

    /// With the paths of files as the server sees them.
    fn devices(&self, files: &Files) -> Vec<AuditDevice> {
        let resolved = |device: &AuditDevice| {
            let path = device.file_path();
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                AuditDevice::file("to-file", &files.audit())
            } else {
                device.clone()
            }
        };
        self.devices.iter().map(resolved).collect()
    }
}

/// The process that this one has started.
fn only_child(parent: u32) -> Result<Identity> {
    let child = tracer_proc::processes()?
        .into_iter()
        .find(|process| {
            process
                .stat()
                .is_ok_and(|stat| stat.parent == parent as i32)
        })
        .context("the server has ended")?;
    Identity::of(child.pid as u32)
}

/// A `listener` block, without TLS.
fn listener(at: SocketAddr) -> String {
    format!("listener \"tcp\" {{\n  address = \"{at}\"\n  tls_disable = true\n}}\n")
}
