//! What the agent reported, beside what its clients measured.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use lab::{Measured, Trace};
use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use serde_json::Value;

/// Records that say that something was wrong.
const ALARMS: [&str; 6] = [
    "hang",
    "refusal",
    "incident",
    "stalled",
    "filling",
    "lost_entries",
];
/// Shown of each kind.
const SHOWN: usize = 10;

/// Prints what was reported; returns how many alarms no client's own measurement explains.
pub(crate) fn report(trace: &Trace, slow: &[Measured]) -> Result<usize> {
    let mut shown = BTreeMap::new();
    let mut count = 0;
    for record in &trace.records {
        let kind = record["type"].as_str().unwrap_or_default();
        if !ALARMS.contains(&kind) {
            continue;
        }
        let explained = is_explained(record, slow);
        count += usize::from(!explained);
        let number: &mut usize = shown.entry((kind, explained)).or_default();
        *number += 1;
        if *number <= SHOWN {
            let word = if explained { "explained" } else { "FALSE" };
            println!("{word}: {record}");
        }
    }
    let slowest = slow.iter().map(|request| request.duration).max();
    println!(
        "{shown:?}; {} slow requests, the slowest {slowest:?}",
        slow.len()
    );
    let summary = trace.summary()?;
    let (events, requests) = (number(summary, "events")?, number(summary, "requests")?);
    println!(
        "{summary}\nevents: {:.2} % of the requests",
        events / requests * 100.0
    );
    eprintln!("{}", trace.stderr);
    Ok(count)
}

/// Whether a client waited at that time, and at least as long: a busy machine delays log servers too.
fn is_explained(record: &Value, slow: &[Measured]) -> bool {
    let start = record["start"].as_str().or(record["at"].as_str());
    let Some(start) = start.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return false;
    };
    let length = record["longest_ns"]
        .as_u64()
        .or(record["duration_ns"].as_u64());
    let length = Duration::from_nanos(length.unwrap_or_default());
    slow.iter().any(|request| {
        let Ok(began) = Timestamp::try_from(request.started) else {
            return false;
        };
        let seen = Duration::from_millis(5);
        began <= start + seen
            && start <= began + request.duration
            && length <= request.duration + seen
    })
}

fn number(record: &Value, field: &str) -> Result<f64> {
    record[field].as_f64().with_context(|| field.to_owned())
}

/// CPU time that a process has used.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let clock: ClockId = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?;
    Ok(Duration::from(clock.now()?))
}

/// The most memory that it had, kB.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.context("no VmHWM")?.parse().map_err(Into::into)
}
