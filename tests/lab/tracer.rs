//! The agent under test: attached, ended, and what it wrote.

use std::{
    collections::BTreeSet,
    env, fs,
    fs::File,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{process::Process, replay, rest::wait_for_rest, wait};

/// To read the server's executable and attach: half a second, but half a minute under emulation.
const ATTACH_LIMIT: Duration = Duration::from_mins(2);
/// To write the rest.
const FINISH_LIMIT: Duration = Duration::from_secs(20);

/// Which probes the agent attaches where a test does not say so itself.
const PROBES: &str = "VAULT_TRACER_PROBES";

const TRACE: &str = "trace.jsonl";
const RECORDING: &str = "recording.jsonl";
/// Among its arguments: all events are sent up and recorded, rather than normal traffic buffered in the kernel.
pub const RECORD: &str = "--record";

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

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
    arguments: Vec<String>,
}

impl Tracer {
    /// Starts `agent trace --pid PID` with further arguments; returns once it is attached.
    pub fn attach(agent: &Path, pid: u32, arguments: &[&str]) -> Result<Self> {
        Self::attach_to(agent, ["--pid", &pid.to_string()], arguments)
    }

    /// The same to the server whose program has this name.
    pub fn attach_by_name(agent: &Path, name: &str, arguments: &[&str]) -> Result<Self> {
        Self::attach_to(agent, ["--process", name], arguments)
    }

    fn attach_to(agent: &Path, server: [&str; 2], arguments: &[&str]) -> Result<Self> {
        let directory = directory()?;
        let arguments = replay::arguments(arguments);
        let mut command = Command::new(agent);
        command
            .arg("trace")
            .args(server)
            .arg("--output")
            .arg(directory.path().join(TRACE));
        for argument in &arguments {
            command.arg(argument);
            if *argument == RECORD {
                command.arg(directory.path().join(RECORDING));
            }
        }
        if let Some(probes) = env::var_os(PROBES).filter(|_| !arguments.contains(&"--probes")) {
            command.arg("--probes").arg(probes);
        }
        Self::start(directory, &mut command)?
            .once_attached(|tracer| tracer.read(TRACE).contains('\n'))
    }

    /// The same with the trace going elsewhere; that it is attached is known from its report.
    pub fn attach_writing_to(agent: &Path, pid: u32, output: &str) -> Result<Self> {
        let mut command = Command::new(agent);
        command.args(["trace", "--pid", &pid.to_string(), "--output", output]);
        Self::attach_by(&mut command)
    }

    /// The same by whatever command starts it.
    pub fn attach_by(command: &mut Command) -> Result<Self> {
        let reported = |tracer: &Self| {
            [STDOUT, STDERR]
                .iter()
                .any(|name| tracer.read(name).contains("tracing PID"))
        };
        Self::start(directory()?, command)?.once_attached(reported)
    }

    /// Starts the agent with these arguments, and waits for nothing.
    pub fn run(agent: &Path, arguments: &[&str]) -> Result<Self> {
        Self::spawn(Command::new(agent).args(arguments))
    }

    /// The same as a user without any privilege; returns when it has ended.
    pub fn run_unprivileged(agent: &Path, arguments: &[&str]) -> Result<Trace> {
        const NOBODY: u32 = 65534;
        let directory = directory()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        // Where the agent was built others may have no access.
        let own = directory.path().join("vault-tracer");
        fs::copy(agent, &own)?;
        let mut command = Command::new(own);
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        Self::spawn(command.current_dir("/"))?.finish()
    }

    /// Starts the agent by this command, and waits for nothing.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        Self::start(directory()?, command)
    }

    fn start(directory: TempDir, command: &mut Command) -> Result<Self> {
        let create = |name: &str| File::create(directory.path().join(name));
        command.stdout(create(STDOUT)?).stderr(create(STDERR)?);
        let arguments = command.get_args().map(|word| word.to_string_lossy().into());
        Ok(Self {
            arguments: arguments.collect(),
            process: Process::spawn("the tracer", command)?,
            directory,
        })
    }

    fn once_attached(mut self, attached: impl Fn(&Self) -> bool) -> Result<Self> {
        wait::until("the tracer to attach", ATTACH_LIMIT, || {
            if let Some(status) = self.process.exited()? {
                bail!("the tracer ended at once ({status}): {}", self.stderr());
            }
            Ok(attached(&self).then_some(()))
        })?;
        Ok(self)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The trace file.
    pub fn trace_file(&self) -> PathBuf {
        self.directory.path().join(TRACE)
    }

    /// Its report so far.
    pub fn terminal(&self) -> String {
        self.read(STDOUT)
    }

    /// The process that it traces: the one that it was told to, or the last one that it found.
    fn server(&self) -> Option<u32> {
        let mut words = self.arguments.iter();
        if words.any(|word| word == "--pid") {
            return words.next()?.parse().ok();
        }
        let records = self.records().ok()?;
        let pid = records
            .iter()
            .rev()
            .find_map(|record| record["pid"].as_u64())?;
        pid.try_into().ok()
    }

    /// Its complaints so far.
    pub fn stderr(&self) -> String {
        self.read(STDERR)
    }

    /// The eBPF programs it holds, by the kernel's numbers.
    pub fn programs(&self) -> Result<BTreeSet<u32>> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))?;
        // One that is closed meanwhile is none of those that matter.
        let texts = descriptors
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path()).ok());
        Ok(texts.filter_map(|text| program(&text)).collect())
    }

    /// The records written so far.
    pub fn records(&self) -> Result<Vec<Value>> {
        records(&self.read(TRACE))
    }

    /// The events recorded so far, with [`RECORD`].
    pub fn events(&self) -> Result<Vec<Value>> {
        records(&self.read(RECORDING))
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

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends it as Ctrl-C would.
    pub fn stop(self) -> Result<Trace> {
        self.end_with(Signal::SIGINT)
    }

    /// Ends it with another signal, once the server has done what clients have answers of.
    pub fn end_with(mut self, signal: Signal) -> Result<Trace> {
        self.server().into_iter().for_each(wait_for_rest);
        self.signal(signal)?;
        self.finish()
    }

    /// Waits until it ends by itself. What it recorded must then replay to the same trace.
    pub fn finish(mut self) -> Result<Trace> {
        let status = self.process.wait(FINISH_LIMIT)?;
        let text = self.read(TRACE);
        let trace = Trace {
            status,
            records: records(&text)?,
            text,
            terminal: self.terminal(),
            stderr: self.stderr(),
            recording: self.read(RECORDING),
        };
        if status.success() && !trace.recording.is_empty() {
            replay::check_same_trace(&trace, &self.arguments)?;
        }
        Ok(trace)
    }
}

fn directory() -> Result<TempDir> {
    tempfile::tempdir().context("no temporary directory")
}

/// The whole lines of a trace, parsed.
pub fn records(text: &str) -> Result<Vec<Value>> {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

/// The program that a descriptor stands for, or that the link it stands for runs.
fn program(fdinfo: &str) -> Option<u32> {
    let number = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:"))?;
    number.trim().parse().ok()
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
    /// The recording of its events, with [`RECORD`].
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
