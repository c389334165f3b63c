//! A recording that begins when the kernel side stops keeping events back gives the hangs that the trace itself gave.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use test_support::simulation::Capture;
use tracer::source::flight::Prologue;
use tracer_core::{Core, replay};
use tracer_model::{Event, EventKind, Finding};

use crate::{all_recordings, recordings::records, simulated::SimulatedCapture};

/// What the trace found, and the recordings of the flight recorder.
fn trace(events: &[Event]) -> (Vec<Finding>, Vec<Vec<Event>>) {
    let mut core = Core::new();
    let mut capture = SimulatedCapture::new(events[0].at);
    let mut prologue = Prologue::default();
    let (mut findings, mut closed) = (Vec::new(), Vec::new());
    let mut open: Option<Vec<Event>> = None;
    for event in events {
        let was_buffering = capture.is_buffering();
        let given = capture.pass(event.clone(), &core);
        if was_buffering && !capture.is_buffering() {
            open = Some(prologue.events(event.at, core.audit_addresses()));
        }
        for event in given {
            prologue.observe(&event);
            findings.extend(core.on(&event).findings);
            if let Some(open) = &mut open {
                open.push(event);
            }
        }
        if capture.is_buffering()
            && let Some(mut recording) = open.take()
        {
            let (at, what) = (event.at, EventKind::End);
            recording.push(Event { at, what });
            closed.push(recording);
        }
    }
    closed.extend(open);
    (findings, closed)
}

/// The names of hangs are of their trace.
fn hangs(findings: &[Finding], session: &Event) -> Result<Vec<Value>> {
    let mut records = records(findings, session)?;
    records.retain(|record| record["type"] == "hang");
    for record in &mut records {
        record.as_object_mut().context("an object")?.remove("id");
    }
    Ok(records)
}

#[test]
fn each_recording_of_a_hang_replays_to_the_same_hang() -> Result<()> {
    let (mut wrong, mut all) = (Vec::new(), 0);
    for (name, events) in all_recordings()? {
        let (findings, recordings) = trace(&events);
        let expected = hangs(&findings, &events[0])?;
        let mut found = Vec::new();
        for recording in &recordings {
            let replayed: Vec<_> = replay(recording).collect();
            found.extend(hangs(&replayed, &events[0])?);
        }
        found.sort_by_key(|record| format!("{} {}", record["type"], record["start"]));
        all += expected.len();
        for hang in &expected {
            if !found.contains(hang) {
                wrong.push(format!("{name}: not recorded {hang}"));
            }
        }
        for hang in &found {
            if !expected.contains(hang) {
                wrong.push(format!("{name}: only recorded {hang}"));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {all}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    ensure!(all > 50, "only {all} hangs");
    Ok(())
}
