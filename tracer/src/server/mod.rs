//! The server: which process it is, which Go it was built with, what it has open.

pub mod executable;
pub mod find;
pub mod go;
pub mod goroutines;
pub mod sockets;

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};

use self::{
    executable::Executable,
    find::Process,
    go::{GoFacts, dwarf::Sections},
    goroutines::GoroutineReader,
};

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
    /// Looks at a running process, once for all that its executable tells: what it takes to read its
    /// goroutines too, or why they cannot be read. Fails if it is no Go program.
    pub fn inspect(process: &Process) -> Result<(Self, Result<GoroutineReader>)> {
        let pid = process.pid;
        // Through /proc: the right file also where it was replaced or lies in a container.
        let exe = File::open(format!("/proc/{pid}/exe"))
            .with_context(|| format!("cannot read the executable of PID {pid}"))?;
        let context = || format!("cannot trace PID {pid} ({})", process.exe.display());
        let executable = Executable::open(&exe).with_context(context)?;
        let build = go::build(&executable).with_context(context)?;
        // The one large part: unpacked once, for all that is asked of it.
        let debug = Sections::read(&executable, goroutines::has_variables);
        let go = go::facts(build, &debug);
        // What is wrong with it has been said by then.
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
