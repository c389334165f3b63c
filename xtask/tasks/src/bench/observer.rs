//! The process that observes the server: started, waited for until it is attached, measured and ended.

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
    measurement::{BpfRuns, RingRecords},
    other_tools::OtherTool,
    variants::Records,
};

/// bpftrace compiles for 3 s.
const READY_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(15);
/// Consecutive polls, 10 ms apart, that must find the same number of descriptors.
const SETTLED_POLLS: u32 = 30;
/// strace has no such descriptors: it prints `strace: Process 1 attached with 9 threads`.
const PTRACE_ATTACHED: &str = " attached";
/// Lines of a failed program's output that the error quotes.
const QUOTED_LINES: usize = 2;

const TRACE: &str = "trace.jsonl";
const RECORDING: &str = "recording.jsonl";
const OUTPUT: &str = "stdout";
const ERRORS: &str = "stderr";

/// A running program. Ended when dropped.
pub struct Observer {
    process: Process,
    directory: TempDir,
}

impl Observer {
    /// `vault-tracer trace`.
    pub fn agent(agent: &Path, probes: &str, records: Records, pid: u32) -> Result<Self> {
        let directory = directory()?;
        let mut command = Command::new(agent);
        let pid = pid.to_string();
        command.args(["trace", "--quiet", "--pid", &pid, "--probes", probes]);
        command.arg("--output").arg(directory.path().join(TRACE));
        match records {
            Records::Nothing => &mut command,
            Records::Hangs => command.arg("--flight-recorder").arg(directory.path()),
            Records::Everything => command
                .arg("--record")
                .arg(directory.path().join(RECORDING)),
        };
        let mut observer = Self::start("the agent", command, directory)?;
        observer.wait_until(|observer| Ok(!observer.trace().is_empty()))?;
        Ok(observer)
    }

    /// A subcommand of the example program `bench` that prints when it is attached.
    pub fn helper(helper: &Path, subcommand: &str, arguments: &[String]) -> Result<Self> {
        let mut command = Command::new(helper);
        command.arg(subcommand).args(arguments);
        let mut observer = Self::start(subcommand, command, directory()?)?;
        observer.wait_until(|observer| Ok(observer.read(OUTPUT).contains("ready")))?;
        Ok(observer)
    }

    /// Another tool. It is attached once it opens no more perf events and BPF programs.
    pub fn tool(tool: &OtherTool, pid: u32) -> Result<Self> {
        let directory = directory()?;
        let output = directory.path().join("output");
        let command = tool.command(pid, &output.to_string_lossy());
        let mut observer = Self::start(tool.name, command, directory)?;
        let (mut before, mut same) = (0, 0);
        observer.wait_until(|observer| {
            let now = observer.probes()?;
            same = if now > 0 && now == before {
                same + 1
            } else {
                0
            };
            before = now;
            Ok(same == SETTLED_POLLS || observer.read(ERRORS).contains(PTRACE_ATTACHED))
        })?;
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

    fn wait_until(&mut self, mut ready: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        wait::until("it to be attached", READY_LIMIT, || {
            if let Some(status) = self.process.exited()? {
                bail!("it ended at once ({status}): {}", self.complaint());
            }
            Ok(ready(self)?.then_some(()))
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn complaint(&self) -> String {
        let text = self.read(ERRORS) + &self.read(OUTPUT);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("; ")
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

    /// The number of its descriptors of perf events and BPF programs.
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

    /// Restarts what [`Self::peak_resident`] measures.
    pub fn reset_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").context("cannot reset VmHWM")
    }

    /// The most memory that it had resident since the start or the last reset, in bytes.
    pub fn peak_resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.context("no VmHWM in /proc/PID/status")? * 1024)
    }

    /// Run time of its BPF programs so far, while the kernel counted; `None` if it has none.
    pub fn bpf_runs(&self) -> Result<Option<BpfRuns>> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))?;
        let texts = descriptors
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path()).ok());
        Ok(BpfRuns::sum(texts))
    }

    /// Ends it as Ctrl-C would. Returns what the summary of an agent's trace says.
    pub fn end(mut self) -> Result<Option<RingRecords>> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(END_LIMIT)?;
        Ok(self.trace().last().and_then(RingRecords::of_summary))
    }
}

fn directory() -> Result<TempDir> {
    tempfile::tempdir().context("no temporary directory")
}
