//! Accuracy does not pay for what routine costs no more: of every recording, the core says the same of devices when
//! routine is held back in the kernel as when all is told.

#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "simulation/holding.rs"]
mod holding;
#[allow(dead_code, reason = "other tests use the rest")]
mod replays;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer::sink::{jsonl, wall::WallClock};
use tracer_core::{Core, replay};
use tracer_model::{Event, EventKind, Finding};

/// What is said of devices and requests, rather than of the trace itself.
const KINDS: [&str; 4] = ["hang", "refusal", "incident", "lost_entries"];

fn told(findings: &[Finding], session: &Event) -> Result<Vec<Value>> {
    let EventKind::Session(session) = &session.what else {
        anyhow::bail!("no session");
    };
    let clock = WallClock::of(session);
    let mut told = Vec::new();
    for finding in findings {
        let Some(line) = jsonl::line(finding, clock)? else {
            continue;
        };
        let record: Value = serde_json::from_str(&line)?;
        if record["type"]
            .as_str()
            .is_some_and(|kind| KINDS.contains(&kind))
        {
            told.push(record);
        }
    }
    told.sort_by_key(|record| format!("{} {}", record["type"], record["start"]));
    Ok(told)
}

fn full(events: &[Event]) -> Vec<Finding> {
    replay(events).collect()
}

/// How many events the core was given, beside.
fn held(events: &[Event]) -> (Vec<Finding>, usize) {
    let mut core = Core::new();
    let mut between = holding::Between::new(events[0].at);
    let (mut findings, mut given) = (Vec::new(), 0);
    for event in events {
        for event in between.pass(event.clone(), &core) {
            given += 1;
            findings.extend(core.on(&event).findings);
        }
    }
    (findings, given)
}

#[test]
fn every_recording_says_the_same_of_devices() -> Result<()> {
    let mut wrong = Vec::new();
    for (name, events) in replays::recordings()? {
        let full = told(&full(&events), &events[0]).with_context(|| name.clone())?;
        let (findings, given) = held(&events);
        let held = told(&findings, &events[0]).with_context(|| name.clone())?;
        println!(
            "{name}: {} events, {given} given; {} records",
            events.len(),
            full.len()
        );
        if full != held {
            wrong.push(format!("{name}:\n{}", difference(&full, &held)));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn difference(full: &[Value], held: &[Value]) -> String {
    let missing = full.iter().filter(|record| !held.contains(record));
    let more = held.iter().filter(|record| !full.contains(record));
    let lines = missing
        .map(|r| format!("  - {r}"))
        .chain(more.map(|r| format!("  + {r}")));
    lines.collect::<Vec<_>>().join("\n")
}

/// What the ring buffer would have to carry of a healthy server: next to nothing.
#[test]
fn of_a_healthy_server_next_to_nothing_is_told() -> Result<()> {
    let healthy = ["healthy-load", "rare-writes", "slow-storage", "slow-work"];
    let recordings = replays::recordings()?;
    let of_healthy = recordings
        .iter()
        .filter(|(name, _)| healthy.contains(&&**name));
    for (name, events) in of_healthy {
        let (findings, given) = held(events);
        ensure!(given < 10, "{name}: {given} of {} events", events.len());
        let (Some(Finding::Summary(all)), Some(Finding::Summary(some))) =
            (full(events).pop(), findings.last().cloned())
        else {
            anyhow::bail!("{name}: no summary");
        };
        let counts = |of: &tracer_model::Summary| (of.requests, of.audit_writes, of.hangs);
        ensure!(counts(&all) == counts(&some), "{name}: {all:?} {some:?}");
    }
    Ok(())
}
