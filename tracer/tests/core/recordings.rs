//! Buffering normal traffic in the kernel costs no accuracy: of every recording, the core reports the same about devices
//! as when all is streamed.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use test_support::simulation::Capture;
use tracer::sink::{jsonl, wall::WallClock};
use tracer_core::{Core, replay};
use tracer_model::{Event, EventKind, Finding};

use crate::{all_recordings, simulated::SimulatedCapture};

/// Records about devices and requests, not about the trace itself.
const KINDS: [&str; 4] = ["hang", "refusal", "incident", "lost_entries"];

pub(crate) fn records(findings: &[Finding], session: &Event) -> Result<Vec<Value>> {
    let EventKind::Session(session) = &session.what else {
        anyhow::bail!("no session");
    };
    let clock = WallClock::of(session);
    let mut records = Vec::new();
    for finding in findings {
        let Some(line) = jsonl::line(finding, clock)? else {
            continue;
        };
        let record: Value = serde_json::from_str(&line)?;
        if record["type"]
            .as_str()
            .is_some_and(|kind| KINDS.contains(&kind))
        {
            records.push(record);
        }
    }
    records.sort_by_key(|record| format!("{} {}", record["type"], record["start"]));
    Ok(records)
}

fn streamed(events: &[Event]) -> Vec<Finding> {
    replay(events).collect()
}

/// The findings and the number of events that the core got.
fn buffered(events: &[Event]) -> (Vec<Finding>, usize) {
    let mut core = Core::new();
    let mut capture = SimulatedCapture::new(events[0].at);
    let (mut findings, mut given) = (Vec::new(), 0);
    for event in events {
        for event in capture.pass(event.clone(), &core) {
            given += 1;
            findings.extend(core.on(&event).findings);
        }
    }
    (findings, given)
}

#[test]
fn every_recording_gives_the_same_records_of_devices() -> Result<()> {
    let mut wrong = Vec::new();
    for (name, events) in all_recordings()? {
        let all = streamed(&events);
        let streamed = records(&all, &events[0]).with_context(|| name.clone())?;
        let (findings, given) = buffered(&events);
        let buffered = records(&findings, &events[0]).with_context(|| name.clone())?;
        // A count that is exact when all is streamed stays exact.
        ensure!(
            is_at_least(&all) || !is_at_least(&findings),
            "{name}: at least"
        );
        println!(
            "{name}: {} events, {given} given; {} records",
            events.len(),
            streamed.len()
        );
        if streamed != buffered {
            wrong.push(format!("{name}:\n{}", difference(&streamed, &buffered)));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn is_at_least(findings: &[Finding]) -> bool {
    matches!(findings.last(), Some(Finding::Summary(summary)) if summary.requests_at_least)
}

fn difference(streamed: &[Value], buffered: &[Value]) -> String {
    let missing = streamed.iter().filter(|record| !buffered.contains(record));
    let more = buffered.iter().filter(|record| !streamed.contains(record));
    let lines = missing
        .map(|r| format!("  - {r}"))
        .chain(more.map(|r| format!("  + {r}")));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_healthy_server_gives_the_core_hardly_any_events() -> Result<()> {
    let healthy = ["healthy-load", "rare-writes", "slow-storage", "slow-work"];
    let recordings = all_recordings()?;
    let of_healthy = recordings
        .iter()
        .filter(|(name, _)| healthy.contains(&&**name));
    for (name, events) in of_healthy {
        let (findings, given) = buffered(events);
        ensure!(given < 10, "{name}: {given} of {} events", events.len());
        let (Some(Finding::Summary(all)), Some(Finding::Summary(some))) =
            (streamed(events).pop(), findings.last().cloned())
        else {
            anyhow::bail!("{name}: no summary");
        };
        let counts = |of: &tracer_model::Summary| (of.requests, of.audit_writes, of.hangs);
        ensure!(counts(&all) == counts(&some), "{name}: {all:?} {some:?}");
    }
    Ok(())
}
