//! The agent: what it holds, and what it leaves.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    Trace, Tracer,
    tracer::{RECORD, agent_from_environment},
    wait,
};
use nix::sys::signal::Signal;

use super::{load::Requests, truth};

const LIMIT: Duration = Duration::from_secs(20);
/// What may be added to descriptors and threads: connections that are open at the moment.
const FEW: usize = 4;
/// The same of memory, kB: what an outage has the core keep.
const SOME: u64 = 16 << 10;

pub(crate) struct Agent {
    pub(crate) tracer: Tracer,
    /// After its first outage.
    held: Option<Held>,
}

/// What a process holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// Resident, kB.
    memory: u64,
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let count = |what: &str| {
            Ok::<_, std::io::Error>(fs::read_dir(format!("/proc/{pid}/{what}"))?.count())
        };
        let status = tracer_proc::Process::new(pid.cast_signed()).status("VmRSS")?;
        let memory = status
            .split_whitespace()
            .next()
            .context("no memory")?
            .parse()?;
        Ok(Self {
            descriptors: count("fd")?,
            threads: count("task")?,
            memory,
        })
    }
}

impl Agent {
    pub(crate) fn attach(name: &str, collector: &str) -> Result<Self> {
        let options = ["--otlp-endpoint", collector, "--metrics", "127.0.0.1:0"];
        let tracer = Tracer::attach_by_name(&agent_from_environment()?, name, &options)?;
        Ok(Self { tracer, held: None })
    }

    /// One that has all events sent up.
    pub(crate) fn recording(name: &str) -> Result<Self> {
        let tracer = Tracer::attach_by_name(&agent_from_environment()?, name, &[RECORD])?;
        Ok(Self { tracer, held: None })
    }

    /// Fails if it holds more than it did at first.
    pub(crate) fn check_leaks(&mut self) -> Result<()> {
        let now = Held::by(self.tracer.pid())?;
        let Some(first) = &self.held else {
            self.held = Some(now);
            return Ok(());
        };
        ensure!(
            now.descriptors <= first.descriptors + FEW
                && now.threads <= first.threads + FEW
                && now.memory <= first.memory + SOME,
            "it holds {now:?}, and held {first:?}"
        );
        Ok(())
    }

    /// Hangs that were written so far.
    pub(crate) fn hangs(&self) -> Result<usize> {
        let records = self.tracer.records()?;
        Ok(records
            .iter()
            .filter(|record| record["type"] == "hang")
            .count())
    }

    /// Waits until there are more.
    pub(crate) fn wait_for_hangs(&self, more_than: usize) -> Result<()> {
        wait::until("a hang", LIMIT, || {
            Ok((self.hangs()? > more_than).then_some(()))
        })
    }

    /// Ends it. Nothing of it stays in the kernel, and what it wrote is true.
    pub(crate) fn end(self, signal: Signal, requests: &Requests) -> Result<Trace> {
        let programs = self.tracer.programs()?;
        ensure!(!programs.is_empty(), "it holds no program");
        let trace = self.tracer.end_with(signal)?;
        are_gone(&programs)?;
        check(&trace, requests)?;
        Ok(trace)
    }
}

/// The kernel frees programs some time after their last user.
pub(crate) fn are_gone(programs: &BTreeSet<u32>) -> Result<()> {
    wait::until("the programs to be gone", LIMIT, || {
        let loaded = aya::programs::loaded_programs();
        // One that is freed meanwhile has no number any more.
        let loaded: BTreeSet<_> = loaded.flatten().map(|program| program.id()).collect();
        Ok(loaded.is_disjoint(programs).then_some(()))
    })
}

fn check(trace: &Trace, requests: &Requests) -> Result<()> {
    let said = &trace.stderr;
    ensure!(!said.contains("panicked"), "{said}");
    let requests = requests.all();
    for hang in trace.hangs() {
        truth::check(hang, &requests)?;
    }
    // Of one that was killed there is none.
    if let Ok(summary) = trace.summary() {
        let lost = summary["events_lost"].as_u64().unwrap_or(0) > 0;
        ensure!(lost == said.contains("records lost"), "{summary}: {said}");
    }
    Ok(())
}
