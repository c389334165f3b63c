//! The server: which process it is, which Go it was built with, what it has open.

pub mod find;
pub mod go;
pub mod goroutines;
pub mod sockets;

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};

use self::{find::Process, go::GoFacts};

/// The server to be traced.
#[derive(Debug)]
pub struct Target {
    /// Its process ID.
    pub pid: i32,
    /// Its executable, as `/proc/PID/exe` names it.
    pub exe: PathBuf,
    /// What the executable says of its Go.
    pub go: GoFacts,
    /// Inode number of its network namespace.
    pub netns: u64,
}

impl Target {
    /// Looks at a running process. Fails if it is no Go program.
    pub fn inspect(process: &Process) -> Result<Self> {
        let pid = process.pid;
        // Through /proc: the right file also where it was replaced or lies in a container.
        let exe = File::open(format!("/proc/{pid}/exe"))
            .with_context(|| format!("cannot read the executable of PID {pid}"))?;
        let go = go::facts(&exe)
            .with_context(|| format!("cannot trace PID {pid} ({})", process.exe.display()))?;
        Ok(Self {
            pid,
            exe: process.exe.clone(),
            go,
            netns: sockets::netns_inode(pid)?,
        })
    }
}
