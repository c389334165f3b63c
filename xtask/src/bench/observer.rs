//! What looks at the server: begun, known to be at work, ended; and what the kernel knows of it meanwhile.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lab::{Process, wait};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    figures::{Programs, Records},
    peers::{Peer, Ready},
    tracefs::with_tracefs,
};

/// bpftrace compiles for 3 s here; on an idle machine nothing takes as long as this.
const READY_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(15);
/// Looks in a row that must find the same descriptors, 10 ms apart.
const SETTLED: u32 = 30;
/// Quoted of what a program says when it does not work.
const QUOTED_LINES: usize = 2;

const TRACE: &str = "trace.jsonl";
const RECORDING: &str = "recording.jsonl";
const OUTPUT: &str = "stdout";
const ERRORS: &str = "stderr";

/// A program at work. Ended when dropped.
pub struct Observer {
    process: Process,
    directory: TempDir,
}

impl Observer {
    /// `vault-tracer trace`.
    pub fn agent(agent: &Path, probes: &str, record: bool, pid: u32) -> Result<Self> {
        let directory = directory()?;
        let mut command = Command::new(agent);
        let pid = pid.to_string();
        command.args(["trace", "--quiet", "--pid", &pid, "--probes", probes]);
        command.arg("--output").arg(directory.path().join(TRACE));
        if record {
            command
                .arg("--record")
                .arg(directory.path().join(RECORDING));
        }
        let mut observer = Self::start("the agent", command, directory)?;
        observer.once(|observer| Ok(!observer.trace().is_empty()))?;
        Ok(observer)
    }

    /// A part of the bench that says when it is at work.
    pub fn part(parts: &Path, arguments: &[String]) -> Result<Self> {
        let mut command = Command::new(parts);
        command.args(arguments);
        let mut observer = Self::start("a part of the bench", command, directory()?)?;
        observer.once(|observer| Ok(observer.read(OUTPUT).contains("ready")))?;
        Ok(observer)
    }

    /// A program of others.
    pub fn peer(peer: &Peer, pid: u32) -> Result<Self> {
        let directory = directory()?;
        let output = directory.path().join("peer");
        let mut command = Command::new(peer.program);
        command.args(peer.arguments_for(pid, &output.to_string_lossy()));
        with_tracefs(&mut command);
        let mut observer = Self::start(peer.name, command, directory)?;
        match peer.ready {
            Ready::Ptrace => observer.once(|observer| observer.traces_all_threads_of(pid))?,
            Ready::Descriptors => {
                let (mut before, mut same) = (0, 0);
                observer.once(|observer| {
                    let now = observer.probes()?;
                    same = if now > 0 && now == before {
                        same + 1
                    } else {
                        0
                    };
                    before = now;
                    Ok(same == SETTLED)
                })?;
            }
        }
        Ok(observer)
    }

    fn start(name: &str, mut command: Command, directory: TempDir) -> Result<Self> {
        let create = |name: &str| File::create(directory.path().join(name));
        command.stdin(std::process::Stdio::null());
        command.stdout(create(OUTPUT)?);
        command.stderr(create(ERRORS)?);
        let process = Process::spawn(name, &mut command)?;
        Ok(Self { process, directory })
    }

    fn once(&mut self, mut ready: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        wait::until("it to be at work", READY_LIMIT, || {
            if let Some(status) = self.process.exited()? {
                bail!("it ended at once ({status}): {}", self.complaint());
            }
            Ok(ready(self)?.then_some(()))
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of what it complained about.
    fn complaint(&self) -> String {
        let text = self.read(ERRORS) + &self.read(OUTPUT);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
        last.iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// The records of its trace so far.
    pub fn trace(&self) -> Vec<Value> {
        let text = self.read(TRACE);
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn traces_all_threads_of(&self, server: u32) -> Result<bool> {
        let us = format!("TracerPid:\t{}\n", self.pid());
        for thread in fs::read_dir(format!("/proc/{server}/task"))? {
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            if !status.contains(&us) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many perf events and BPF programs it holds.
    fn probes(&self) -> Result<usize> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid()))?;
        let links = descriptors
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        let is_probe = |link: &PathBuf| {
            let link = link.to_string_lossy();
            link.contains("perf_event") || link.contains("bpf-prog") || link.contains("bpf_link")
        };
        Ok(links.filter(is_probe).count())
    }

    /// Forgets the most memory that it had resident so far.
    pub fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").context("cannot reset VmHWM")
    }

    /// The most memory that it had resident, since it began or since that was forgotten, in bytes.
    pub fn peak_resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.context("no VmHWM in /proc/PID/status")? * 1024)
    }

    /// What its BPF programs have taken so far, while the kernel counted; `None` if it has none.
    pub fn programs(&self) -> Result<Option<Programs>> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))?;
        let texts = descriptors
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path()).ok());
        Ok(Programs::sum(texts))
    }

    /// Ends it as Ctrl-C would; what an agent's trace says of its records.
    pub fn end(mut self) -> Result<Option<Records>> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(END_LIMIT)?;
        Ok(self.trace().last().and_then(Records::of_summary))
    }
}

fn directory() -> Result<TempDir> {
    tempfile::tempdir().context("no temporary directory")
}
