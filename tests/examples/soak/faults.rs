//! The faults, and what is expected of each.

use std::{collections::BTreeSet, fs, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{Tracer, process, tracer::agent_from_environment, wait};
use nix::{
    libc,
    sys::{
        resource::{Resource, getrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use super::{
    agent::{Agent, are_gone},
    collector::Conduct,
    control_group::{ControlGroup, Limit},
    scene::Scene,
};

const LIMIT: Duration = Duration::from_secs(30);
/// In which the ring buffer overflows, or not.
const PAUSE: Duration = Duration::from_millis(1500);
/// So many requests fill the ring buffer of 4 MB.
const MANY: usize = 1500;
/// Less than the agent takes to begin, bytes.
const LITTLE_MEMORY: u64 = 6 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    OutageOnly,
    AgentKilled,
    AgentStopped,
    RingBufferFull,
    AgentWithoutMemory,
    AgentWithoutDescriptors,
    TraceFileDeleted,
    CollectorSilent,
    CollectorTalksGarbage,
    CollectorUnavailable,
    CollectorCloses,
    CollectorAnswersEndlessly,
    ServerKilled,
    ServerUpgraded,
    ServerStopped,
    ServerThrottled,
    ExecutableDeleted,
    NamespaceDeleted,
    SecondAgent,
}

impl Fault {
    pub(crate) const ALL: [Self; 19] = [
        Self::OutageOnly,
        Self::AgentKilled,
        Self::AgentStopped,
        Self::RingBufferFull,
        Self::AgentWithoutMemory,
        Self::AgentWithoutDescriptors,
        Self::TraceFileDeleted,
        Self::CollectorSilent,
        Self::CollectorTalksGarbage,
        Self::CollectorUnavailable,
        Self::CollectorCloses,
        Self::CollectorAnswersEndlessly,
        Self::ServerKilled,
        Self::ServerUpgraded,
        Self::ServerStopped,
        Self::ServerThrottled,
        Self::ExecutableDeleted,
        Self::NamespaceDeleted,
        Self::SecondAgent,
    ];

    pub(crate) fn name(self) -> &'static str {
        self.described().0
    }

    /// What is expected beside what is checked after each.
    pub(crate) fn expected(self) -> &'static str {
        self.described().1
    }

    fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::OutageOnly => ("outage of the device, nothing else", "its hangs"),
            Self::AgentKilled => (
                "agent: SIGKILL in an outage",
                "nothing stays attached, the server works on",
            ),
            Self::AgentStopped => (
                "agent: SIGSTOP over an outage, SIGCONT",
                "lost records are said",
            ),
            Self::RingBufferFull => (
                "agent: SIGSTOP until the ring buffer is full, with an outage before and within",
                "lost records are said",
            ),
            Self::AgentWithoutMemory => (
                "agent: control group with less memory than it takes",
                "it is killed, nothing stays attached",
            ),
            Self::AgentWithoutDescriptors => (
                "agent: RLIMIT_NOFILE as low as what it has open",
                "it goes on, and reports an outage",
            ),
            Self::TraceFileDeleted => (
                "agent: its trace file is deleted",
                "a new file, which it says",
            ),
            Self::CollectorSilent => (
                "collector: accepts, and never answers",
                "the trace is whole",
            ),
            Self::CollectorTalksGarbage => (
                "collector: answers what is no protobuf",
                "the trace is whole",
            ),
            Self::CollectorUnavailable => (
                "collector: 503, to be asked again in 3,000 years",
                "the trace is whole",
            ),
            Self::CollectorCloses => ("collector: closes each connection", "the trace is whole"),
            Self::CollectorAnswersEndlessly => (
                "collector: answers without an end",
                "the trace is whole, memory is bounded",
            ),
            Self::ServerKilled => (
                "server: SIGKILL, and started again",
                "the new one is traced",
            ),
            Self::ServerUpgraded => (
                "server: its executable is replaced, and it is started again",
                "both are traced",
            ),
            Self::ServerStopped => (
                "server: SIGSTOP, SIGCONT",
                "no hang: no device blocked anybody",
            ),
            Self::ServerThrottled => (
                "server: control group with 5 % of a processor",
                "no hang that is not true",
            ),
            Self::ExecutableDeleted => {
                ("server: its executable is deleted", "an outage is reported")
            }
            Self::NamespaceDeleted => (
                "server: its network namespace loses its name",
                "an outage is reported",
            ),
            Self::SecondAgent => ("a second agent beside it", "both report an outage"),
        }
    }

    /// Does it, and checks what is expected. Returns what was seen.
    pub(crate) fn inflict(self, scene: &mut Scene) -> Result<String> {
        scene.agent()?;
        match self {
            Self::OutageOnly => scene.reported_outage()?,
            Self::AgentKilled => return killed(scene),
            Self::AgentStopped => return stopped(scene),
            Self::RingBufferFull => return ring_buffer_full(scene),
            Self::AgentWithoutMemory => without_memory(scene)?,
            Self::AgentWithoutDescriptors => without_descriptors(scene)?,
            Self::TraceFileDeleted => return trace_file_deleted(scene),
            Self::CollectorSilent => lying(scene, Conduct::Silent)?,
            Self::CollectorTalksGarbage => lying(scene, Conduct::Garbage)?,
            Self::CollectorUnavailable => lying(scene, Conduct::Unavailable)?,
            Self::CollectorCloses => lying(scene, Conduct::Closes)?,
            Self::CollectorAnswersEndlessly => lying(scene, Conduct::Endless)?,
            Self::ServerKilled => {
                scene.restart_server(true)?;
                scene.reported_outage()?;
            }
            Self::ServerUpgraded => upgraded(scene)?,
            Self::ServerStopped => {
                let pid = Pid::from_raw(scene.server_pid()?.cast_signed());
                let before = scene.agent()?.hangs()?;
                kill(pid, Signal::SIGSTOP)?;
                thread::sleep(PAUSE);
                kill(pid, Signal::SIGCONT)?;
                scene.server_works()?;
                let more = scene.agent()?.hangs()? - before;
                ensure!(more == 0, "{more} hangs of a server that did not run");
            }
            Self::ServerThrottled => {
                let group = ControlGroup::new(&Limit::Processor(5000))?;
                group.take(scene.server_pid()?)?;
                thread::sleep(2 * PAUSE);
                drop(group);
                scene.server_works()?;
            }
            Self::ExecutableDeleted => {
                fs::remove_file(scene.executable()?)?;
                scene.reported_outage()?;
                scene.restart_server(false)?;
            }
            Self::NamespaceDeleted => namespace_deleted(scene)?,
            Self::SecondAgent => second_agent(scene)?,
        }
        scene.server_works()?;
        Ok("as expected".to_owned())
    }
}

fn killed(scene: &mut Scene) -> Result<String> {
    scene.outage()?;
    let trace = scene.end_agent(Signal::SIGKILL)?;
    ensure!(!trace.status.success(), "it survived");
    scene.server_works()?;
    Ok(format!("{} hangs until then", trace.hangs().len()))
}

fn stopped(scene: &mut Scene) -> Result<String> {
    let pid = Pid::from_raw(scene.agent()?.tracer.pid().cast_signed());
    kill(pid, Signal::SIGSTOP)?;
    thread::sleep(PAUSE);
    let outage = scene.outage();
    thread::sleep(PAUSE);
    kill(pid, Signal::SIGCONT)?;
    outage?;
    scene.server_works()?;
    // What it says of the loss is checked beside its summary.
    let trace = scene.end_agent(Signal::SIGINT)?;
    let summary = trace.summary()?;
    Ok(format!(
        "{} events lost, {} hangs",
        summary["events_lost"],
        trace.hangs().len()
    ))
}

/// One beside that of the scene, which records everything: else the kernel side buffers what is normal.
fn ring_buffer_full(scene: &mut Scene) -> Result<String> {
    let agent = Agent::recording(&scene.name)?;
    let pid = Pid::from_raw(agent.tracer.pid().cast_signed());
    scene.outage()?;
    agent.wait_for_hangs(0)?;
    kill(pid, Signal::SIGSTOP)?;
    let filled = scene.outage().and_then(|()| scene.wait_for_requests(MANY));
    kill(pid, Signal::SIGCONT)?;
    filled?;
    scene.server_works()?;
    scene.outage()?;
    let trace = agent.end(Signal::SIGINT, &scene.requests)?;
    let lost = trace.summary()?["events_lost"].as_u64();
    ensure!(lost > Some(0), "nothing was lost");
    let (lost, hangs) = (lost.unwrap_or_default(), trace.hangs().len());
    Ok(format!("{lost} events lost, {hangs} hangs"))
}

/// One beside that of the scene: which programs it had shows only while it lives.
fn without_memory(scene: &mut Scene) -> Result<()> {
    let group = ControlGroup::new(&Limit::Memory(LITTLE_MEMORY))?;
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(group.processes());
    command.arg(agent_from_environment()?);
    command.args([
        "trace",
        "--quiet",
        "--process",
        &scene.name,
        "--output",
        "/dev/null",
    ]);
    let mut agent = Tracer::spawn(&mut command)?;
    let mut programs = BTreeSet::new();
    let status = wait::until("the agent to end", LIMIT, || {
        programs.extend(agent.programs().unwrap_or_default());
        agent.ended()
    })?;
    ensure!(!status.success(), "it can do with less memory than that");
    are_gone(&programs)
}

fn without_descriptors(scene: &mut Scene) -> Result<()> {
    let pid = scene.agent()?.tracer.pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    let before = limit_descriptors(pid, open)?;
    let reported = scene.reported_outage();
    limit_descriptors(pid, before)?;
    reported
}

/// Returns the limit that there was.
fn limit_descriptors(pid: u32, limit: u64) -> Result<u64> {
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let hard = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    let new = libc::rlimit {
        rlim_cur: limit,
        rlim_max: hard,
    };
    // SAFETY: the kernel reads the one and writes the other.
    let result = unsafe {
        libc::prlimit(
            pid.cast_signed(),
            libc::RLIMIT_NOFILE,
            &raw const new,
            &raw mut old,
        )
    };
    ensure!(result == 0, "prlimit: {}", std::io::Error::last_os_error());
    Ok(old.rlim_cur)
}

fn trace_file_deleted(scene: &mut Scene) -> Result<String> {
    fs::remove_file(scene.agent()?.tracer.trace_file())?;
    scene.outage()?;
    wait::until("a new file", LIMIT, || {
        let agent = scene.agent()?;
        let there = agent.tracer.trace_file().exists() && agent.hangs()? > 0;
        Ok(there.then_some(()))
    })?;
    let trace = scene.end_agent(Signal::SIGINT)?;
    ensure!(trace.stderr.contains("was deleted"), "{}", trace.stderr);
    Ok(format!("{} hangs in the new file", trace.hangs().len()))
}

/// The agent's outage comes while the collector lies; then it behaves, and the agent goes on with it.
fn lying(scene: &mut Scene, conduct: Conduct) -> Result<()> {
    scene.collector.becomes(conduct);
    let reported = scene.reported_outage();
    thread::sleep(PAUSE);
    scene.collector.becomes(Conduct::Accepts);
    reported
}

fn upgraded(scene: &mut Scene) -> Result<()> {
    let executable = scene.executable()?;
    let other = executable.with_extension("new");
    fs::copy(&executable, &other)?;
    fs::rename(&other, &executable)?;
    scene.reported_outage()?;
    scene.restart_server(false)?;
    scene.reported_outage()
}

/// It lives on with the processes in it.
fn namespace_deleted(scene: &mut Scene) -> Result<()> {
    let name = scene.network.vault.name().to_owned();
    let pid = scene.server_pid()?.to_string();
    process::run(Command::new("ip").args(["netns", "del", &name]))?;
    let reported = scene.reported_outage();
    process::run(Command::new("ip").args(["netns", "attach", &name, &pid]))?;
    reported
}

fn second_agent(scene: &mut Scene) -> Result<()> {
    let collector = format!("http://{}", scene.collector.address);
    let second = Agent::attach(&scene.name, &collector)?;
    scene.reported_outage()?;
    second.wait_for_hangs(0)?;
    let trace = second.end(Signal::SIGINT, &scene.requests)?;
    trace.summary().context("the second one")?;
    // The first one goes on alone.
    scene.reported_outage()
}
