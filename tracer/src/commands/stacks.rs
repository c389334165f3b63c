//! `vault-tracer stacks`: what every goroutine of the server waits for. Its memory is read while it goes on.

mod audit;
mod report;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    io, thread,
    time::Duration,
};

use anyhow::{Context, Error, Result};
use tracer_format::WallClock;

use self::{
    audit::AuditWaits,
    report::{OtherGoroutines, OtherGroup, StacksReport},
};
use super::{print_report, trace::clock};
use crate::{
    cli::StacksArgs,
    paths::PathRule,
    server::{
        Target, find,
        goroutines::{GoroutineReader, ProcessMemory, Stacks, function_names},
        process::Process,
    },
};
use tracer_model::Nanos;

/// Between two samples, ns: what waits in both does not merely pass. A trace's usual threshold.
const INTERVAL: Nanos = 100_000_000;

pub(super) fn run(args: &StacksArgs) -> Result<()> {
    print_report(&read(args)?, args.format)
}

fn read(args: &StacksArgs) -> Result<StacksReport> {
    let process = find::find(&args.server.selector())?;
    let paths = PathRule::new(args.paths)?;
    let read = read_process(&process, args.all, &paths);
    // Whatever failed then failed for that.
    let is_gone = !tracer_proc::Process::new(process.pid).exists();
    read.map_err(|error| {
        if !is_gone {
            return error;
        }
        let pid = process.pid;
        Error::msg(format!("PID {pid} ended while its goroutines were read"))
    })
}

fn read_process(process: &Process, all: bool, paths: &PathRule) -> Result<StacksReport> {
    let pid = process.pid;
    let memory = ProcessMemory::open(pid)?;
    let (target, reader) = Target::inspect(process)?;
    let context = || format!("cannot read the goroutines of PID {pid}");
    let reader = reader.with_context(context)?;
    reader.verify(&memory).with_context(context)?;
    let waits = audit_waits(&reader, &memory, paths).with_context(context)?;
    let in_audit_code = waits.goids();
    let (goroutines, since) = reader.waiting_since(&memory, &in_audit_code)?;
    let others = if all {
        let stacks = reader.stacks_without(&memory, &in_audit_code)?;
        Some(others(pid, stacks, waits.at))
    } else {
        None
    };
    Ok(StacksReport {
        pid,
        exe: process.exe.display().to_string(),
        go_version: target.go.version,
        at: WallClock::of_offset(clock::wall_offset()).time(waits.at),
        interval_ns: INTERVAL,
        requests: waits.waiting_requests(),
        passing: waits.passing(),
        goroutines,
        audit: waits.groups(&since),
        others,
        warnings: reader.doubts().into_iter().collect(),
    })
}

fn audit_waits(
    reader: &GoroutineReader,
    memory: &ProcessMemory,
    paths: &PathRule,
) -> io::Result<AuditWaits> {
    let sample = || {
        let mut sample = reader.sample(memory)?;
        sample.each_entry(|entry| paths.apply_to(entry));
        io::Result::Ok(sample)
    };
    let first = sample()?;
    thread::sleep(Duration::from_nanos(INTERVAL));
    let second = sample()?;
    Ok(AuditWaits::new(first, second, INTERVAL, clock::monotonic()))
}

fn others(pid: i32, stacks: Stacks, now: Nanos) -> OtherGoroutines {
    let calls: BTreeSet<_> = stacks.groups.iter().flat_map(|g| g.calls.clone()).collect();
    // Addresses are better than nothing.
    let names = function_names(pid, &calls).unwrap_or_else(|error| {
        log::warn!("the functions on stacks are not named: {error:#}");
        BTreeMap::new()
    });
    let name = |call: u64| {
        names
            .get(&call)
            .cloned()
            .unwrap_or_else(|| format!("{call:#x}"))
    };
    let groups = stacks.groups.into_iter().map(|group| OtherGroup {
        goroutines: group.goroutines,
        wait: group.wait,
        at_least_ns: group.since.map(|since| now.saturating_sub(since)),
        functions: group.calls.into_iter().map(name).collect(),
    });
    OtherGoroutines {
        groups: groups.collect(),
        ungrouped: stacks.ungrouped,
        unread: stacks.unread,
    }
}
