//! The server: its process, its executable, its goroutines, its open sockets.

pub(crate) mod executable;
pub mod find;
pub(crate) mod generation;
pub(crate) mod go;
pub mod goroutines;
pub(crate) mod identity;
pub(crate) mod listing;
pub(crate) mod pids;
pub(crate) mod placement;
pub mod process;
pub(crate) mod resource;
pub(crate) mod sockets;
pub(crate) mod unix_paths;

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};

use self::{
    executable::Executable,
    go::{GoFacts, dwarf::Sections},
    goroutines::GoroutineReader,
    process::Process,
};

/// The server to be traced.
#[derive(Debug)]
pub struct Target {
    /// Its process ID.
    pub(crate) pid: i32,
    /// Its executable, as `/proc/PID/exe` names it.
    pub(crate) exe: PathBuf,
    /// The Go that built it.
    pub(crate) go: GoFacts,
    /// Inode number of its network namespace.
    pub(crate) netns: u64,
}

impl Target {
    /// Reads the executable of a running process once, for the reader of its goroutines too; the inner error says why
    /// they cannot be read. Fails if it is no Go program.
    pub fn inspect(process: &Process) -> Result<(Self, Result<GoroutineReader>)> {
        let pid = process.pid;
        // Through /proc: the right file also where it was replaced or lies in a container.
        let exe = File::open(format!("/proc/{pid}/exe"))
            .with_context(|| format!("cannot read the executable of PID {pid}"))?;
        let context = || format!("cannot trace PID {pid} ({})", process.exe.display());
        let executable = Executable::open(&exe).with_context(context)?;
        let build = go::build(&executable).with_context(context)?;
        // Large: unpacked once, for all uses.
        let debug = Sections::read(&executable, goroutines::has_variables);
        let go = go::facts(build, &debug);
        // `facts` has reported the error.
        let debug = debug.ok().flatten();
        let goroutines = GoroutineReader::new(pid, &executable, debug.as_ref());
        let target = Self {
            pid,
            exe: process.exe.clone(),
            go,
            netns: sockets::netns_inode(pid)?,
        };
        Ok((target, goroutines))
    }
}
