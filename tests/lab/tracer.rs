//! The agent under test: attached, ended, and what it wrote.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{process::Process, wait};

/// To read the server's executable and attach.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);
/// To write the rest.
const FINISH_LIMIT: Duration = Duration::from_secs(20);

/// The agent's executable, as `cargo xtask test` sets it.
pub fn agent_from_environment() -> Result<PathBuf> {
    let agent = env::var_os("VAULT_TRACER_AGENT")
        .context("VAULT_TRACER_AGENT is not set: run the live tests with `cargo xtask test`")?;
    Ok(agent.into())
}

/// The agent at work, with its files in a directory of its own.
#[derive(Debug)]
pub struct Tracer {
    process: Process,
    directory: TempDir,
}

impl Tracer {
    /// Starts `agent trace --pid PID` with further arguments; returns once it is attached.
    pub fn attach(agent: &Path, pid: u32, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let mut command = Command::new(agent);
        command
            .args(["trace", "--pid", &pid.to_string(), "--output"])
            .arg(directory.path().join("trace.jsonl"))
            .args(["--record"])
            .arg(directory.path().join("recording.jsonl"))
            .args(arguments)
            .stdout(File::create(directory.path().join("stdout"))?)
            .stderr(File::create(directory.path().join("stderr"))?);
        let process = Process::spawn("the tracer", &mut command)?;
        let mut tracer = Self { process, directory };
        wait::until("the tracer to attach", ATTACH_LIMIT, || tracer.attached())?;
        Ok(tracer)
    }

    fn attached(&mut self) -> Result<Option<()>> {
        if let Some(status) = self.process.exited()? {
            bail!(
                "the tracer ended at once ({status}): {}",
                self.read("stderr")
            );
        }
        Ok(self.read("trace.jsonl").contains('\n').then_some(()))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The records written so far.
    pub fn records(&self) -> Result<Vec<Value>> {
        let lines = self.read("trace.jsonl");
        let whole = lines
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }

    /// Waits until a record satisfies `wanted`.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait::until(what, limit, || {
            Ok(self.records()?.into_iter().find(|r| wanted(r)))
        })
    }

    /// Ends it as Ctrl-C would.
    pub fn stop(self) -> Result<Trace> {
        self.end_with(Signal::SIGINT)
    }

    /// Ends it with another signal.
    pub fn end_with(mut self, signal: Signal) -> Result<Trace> {
        self.process.signal(signal)?;
        self.finish()
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self) -> Result<Trace> {
        let status = self.process.wait(FINISH_LIMIT)?;
        let trace = Trace {
            status,
            records: self.records()?,
            text: self.read("trace.jsonl"),
            terminal: self.read("stdout"),
            stderr: self.read("stderr"),
            recording: self.read("recording.jsonl"),
        };
        Ok(trace)
    }
}

/// What a finished agent left.
#[derive(Debug)]
pub struct Trace {
    /// How it ended.
    pub status: ExitStatus,
    /// The trace, parsed.
    pub records: Vec<Value>,
    /// The trace as written.
    pub text: String,
    /// Its report.
    pub terminal: String,
    /// Its complaints.
    pub stderr: String,
    /// The recording of its events.
    pub recording: String,
}

impl Trace {
    /// Records of one type.
    pub fn of_type(&self, kind: &str) -> Vec<&Value> {
        let of_type = |record: &&Value| record["type"] == kind;
        self.records.iter().filter(of_type).collect()
    }

    /// The hangs, in the order in which they ended.
    pub fn hangs(&self) -> Vec<&Value> {
        self.of_type("hang")
    }

    /// The summary, which is the last record.
    pub fn summary(&self) -> Result<&Value> {
        let last = self.records.last().context("the trace is empty")?;
        if last["type"] != "summary" {
            bail!("the last record is no summary: {last}");
        }
        Ok(last)
    }
}
