//! Snapshots on every recording: they agree with the findings of the same moment, and are as complete while the
//! programs buffer normal traffic as while they stream it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use test_support::simulation::Capture;
use tracer_core::Core;
use tracer_model::{Condition, Event, EventKind, Finding, Snapshot, Stalled, Summary};

use crate::{all_recordings, simulated::SimulatedCapture};

/// An error unless the snapshot has the stall that was reported at the same moment.
fn expect_stall(state: &Snapshot, reported: &Stalled) -> Result<()> {
    let stall = state.stalls.iter().find(|s| s.hang == Some(reported.hang));
    let stall = stall.with_context(|| format!("no hang {} in {state:#?}", reported.hang))?;
    ensure!(stall.device == reported.device, "{stall:?}");
    ensure!(
        (stall.op, stall.cause) == (reported.op, reported.cause),
        "{stall:?}"
    );
    ensure!(stall.blocked == reported.blocked, "{stall:?}");
    ensure!(stall.request == reported.request, "{stall:?}");
    let mut devices = state.devices.iter();
    let device = devices.find(|d| d.device == reported.device);
    let device = device.context("the device is not known")?;
    ensure!(device.condition == Some(Condition::Stalled), "{device:?}");
    ensure!(device.since.is_some_and(|since| since <= stall.start));
    let waiting = (device.waiting, device.estimated);
    ensure!(
        waiting == (reported.waiting, reported.estimated),
        "{device:?}"
    );
    ensure!(state.blocked > 0);
    Ok(())
}

#[test]
fn every_reported_stall_is_in_the_snapshot() -> Result<()> {
    let mut stalls = 0;
    for (name, events) in all_recordings()? {
        let mut core = Core::new();
        for event in &events {
            for finding in core.on(event).findings {
                if let Finding::Stalled(reported) = finding {
                    stalls += 1;
                    expect_stall(&core.snapshot(event.at), &reported)
                        .with_context(|| name.clone())?;
                }
            }
        }
    }
    ensure!(stalls > 50, "{stalls} stalls");
    Ok(())
}

#[test]
fn healthy_recordings_have_no_stall() -> Result<()> {
    let healthy = ["healthy-load", "slow-storage", "slow-work", "slow-plugin"];
    let recordings = all_recordings()?;
    for (name, events) in recordings.iter().filter(|(n, _)| healthy.contains(&&**n)) {
        let mut core = Core::new();
        for event in events {
            core.on(event);
            let state = core.snapshot(event.at);
            ensure!(state.stalls.is_empty() && state.blocked == 0, "{name}");
            let is_well = |condition| matches!(condition, None | Some(Condition::Works));
            // The test's end closes connections.
            let closed = |condition| condition == Some(Condition::Closed);
            let mut conditions = state.devices.iter().map(|device| device.condition);
            ensure!(
                conditions.all(|c| is_well(c) || closed(c)),
                "{name}: {state:#?}"
            );
        }
    }
    Ok(())
}

/// The snapshot before the last event.
fn last(name: &str, events: &[Event], is_buffered: bool) -> Option<Snapshot> {
    let mut core = Core::new();
    let mut capture = is_buffered.then(|| SimulatedCapture::of_case(name, events[0].at));
    for event in events {
        if matches!(event.what, EventKind::SendQueues { .. } | EventKind::End) {
            let buffering = capture.as_ref().filter(|capture| capture.is_buffering());
            return Some(match buffering {
                Some(capture) => core.snapshot_while_buffering(event.at, &capture.activity()),
                None => core.snapshot(event.at),
            });
        }
        let given = match &mut capture {
            Some(capture) => capture.pass(event.clone(), &core),
            None => vec![event.clone()],
        };
        for event in given {
            core.on(&event);
        }
    }
    None
}

#[test]
fn snapshots_are_as_complete_while_buffering() -> Result<()> {
    let (mut compared, mut in_bytes) = (0, 0);
    for (name, events) in all_recordings()? {
        let (Some(full), Some(held)) = (last(&name, &events, false), last(&name, &events, true))
        else {
            continue;
        };
        compared += 1;
        // An incident is counted at the next tick.
        // Where entries are written by goroutines of their own, not every answer can be seen.
        let at_least = full.totals.requests_at_least || held.totals.requests_at_least;
        let requests = |of: &Summary| if at_least { 0 } else { of.requests };
        let totals = |of: &Summary| (requests(of), of.audit_writes, of.hangs);
        ensure!(
            totals(&full.totals) == totals(&held.totals),
            "{name}: {:?} {:?}",
            full.totals,
            held.totals
        );
        let taken = |state: &Snapshot| {
            let devices = state.devices.iter();
            let taken = devices.map(|d| (d.device.clone(), (d.entries, d.bytes)));
            taken.collect::<BTreeMap<_, _>>()
        };
        let (full, held) = (taken(&full), taken(&held));
        for (device, (entries, bytes)) in &held {
            let (all_entries, all_bytes) = full.get(device).context("an unknown device")?;
            // Unknown is a value, and no other is wrong.
            ensure!(
                entries.is_none() || entries == all_entries,
                "{name}: {full:?} {held:?}"
            );
            ensure!(
                bytes.is_none() || bytes == all_bytes,
                "{name}: {full:?} {held:?}"
            );
            in_bytes += u32::from(bytes.is_some_and(|bytes| bytes > 0));
        }
        ensure!(held.len() == full.len(), "{name}: {full:?} {held:?}");
    }
    ensure!(compared > 20 && in_bytes > 20, "{compared} {in_bytes}");
    Ok(())
}
