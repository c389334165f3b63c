//! Network namespaces of our own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::process;

/// Where iproute2 keeps named namespaces.
pub(crate) const DIRECTORY: &str = "/run/netns";
pub(crate) const PREFIX: &str = "vt-";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A network namespace; the last clone to be dropped deletes it.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    file: File,
    delete: AtomicBool,
}

impl Namespace {
    /// A new one with loopback up. The name carries our pid, so that [`sweep`](crate::leftovers::remove) can tell when nobody needs it any more.
    pub fn create(role: &str) -> Result<Self> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self::create_named(&format!("{PREFIX}{}-{number}-{role}", std::process::id()))
    }

    /// A new one with exactly this name, which must not exist.
    pub fn create_named(name: &str) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("network namespaces need root: run this with sudo");
        }
        process::run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self::existing(name, true)?;
        // With loopback's own MTU of 64 KiB, a send buffer there takes 2.5 MB to fill.
        namespace.ip(["link", "set", "lo", "mtu", "1500", "up"])?;
        // One ICMP answer a second is what hosts give: the second of two dials in a row would time out instead.
        namespace.sysctl("ipv4/icmp_ratelimit", "0")?;
        namespace.sysctl("ipv6/icmp/ratelimit", "0")?;
        Ok(namespace)
    }

    /// One that exists, and that we leave alone when done.
    pub fn open(name: &str) -> Result<Self> {
        Self::existing(name, false)
    }

    fn existing(name: &str, delete: bool) -> Result<Self> {
        let path = path(name);
        let file = File::open(&path)
            .with_context(|| format!("no network namespace {name} ({})", path.display()))?;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            file,
            delete: delete.into(),
        })))
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Do not delete it when dropped.
    pub fn keep(&self) {
        self.0.delete.store(false, Ordering::Relaxed);
    }

    /// Delete it when dropped, also if it was opened only.
    pub fn delete_on_drop(&self) {
        self.0.delete.store(true, Ordering::Relaxed);
    }

    /// Moves the calling thread in for good. Sockets made there stay in the namespace wherever they are used later.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.0.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter network namespace {}", self.name()))
    }

    /// Runs `work` inside, in a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || self.enter().and_then(|()| work());
        let outcome = std::thread::scope(|scope| scope.spawn(inside).join());
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = self.clone();
        let enter = move || setns(&namespace.0.file, CloneFlags::CLONE_NEWNET).map_err(Into::into);
        // SAFETY: setns is one system call on a descriptor that the closure keeps open.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs `ip ARGUMENTS` inside.
    pub fn ip<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
        process::run(self.command("ip").args(arguments)).map(drop)
    }

    /// Sets a network parameter, such as `ipv6/conf/all/keep_addr_on_down`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| {
            fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if *self.delete.get_mut()
            && let Err(error) = delete(&self.name)
        {
            eprintln!("lab: {error:#}");
        }
    }
}

pub(crate) fn delete(name: &str) -> Result<()> {
    process::run(Command::new("ip").args(["netns", "del", name])).map(drop)
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
