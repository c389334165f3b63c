//! Recordings of real servers, replayed: the core makes the same report of each, without root, kernel or server.
//! `UPDATE_REPLAYS=1` writes what it makes of them now.

mod case;
mod claims;
mod clients;
mod compressed;
mod metrics;
mod perfetto;
mod report;
mod spans;
mod terminal;

use std::{env, fs};

use anyhow::{Context, Result};
use lab::schema;
use tracer_model::{EventKind, Finding, Hang, Nanos};

use crate::case::{Case, LARGEST, replay, to_lines};

#[test]
fn every_recording_replays_to_what_is_expected() -> Result<()> {
    for case in Case::all()? {
        let actual = to_lines(&replay(&case.events))?;
        if env::var_os("UPDATE_REPLAYS").is_some() {
            fs::write(case.directory.join("expected.jsonl"), &actual)?;
        }
        assert_eq!(actual, case.read("expected.jsonl")?, "{}", case.name());
        schema::check(&actual).with_context(|| case.name())?;
    }
    Ok(())
}

#[test]
fn every_recording_is_complete_small_and_in_the_format_of_today() -> Result<()> {
    for case in Case::all()? {
        assert!(
            fs::metadata(&case.recording)?.len() < LARGEST,
            "{} is too large",
            case.recording.display()
        );
        assert!(
            matches!(case.events.last().map(|e| &e.what), Some(EventKind::End)),
            "{}",
            case.name()
        );
        if case.truth()?.is_some() {
            continue; // in the format of the day it was made
        }
        for (event, line) in case
            .events
            .iter()
            .zip(case.read("recording.jsonl")?.lines())
        {
            assert_eq!(serde_json::to_string(event)?, line, "{}", case.name());
        }
    }
    Ok(())
}

#[test]
fn every_case_can_be_recorded_anew() -> Result<()> {
    let cases = Case::all()?;
    // Those with several clients are `record-clients`' own; those with a truth are of a real Vault.
    let is_recorded_by_others = |case: &&Case| {
        ["clients.json", "truth.json"]
            .iter()
            .any(|name| case.directory.join(name).exists())
    };
    let of_states = cases.iter().filter(|case| !is_recorded_by_others(case));
    let mut cases: Vec<_> = of_states
        .filter_map(|case| case.directory.file_name()?.to_str())
        .collect();
    let mut states: Vec<_> = lab::State::all().map(|state| state.name).collect();
    cases.sort_unstable();
    states.sort_unstable();
    assert_eq!(cases, states);
    Ok(())
}

#[test]
fn no_single_lost_event_makes_up_a_hang_longer_than_its_request() -> Result<()> {
    for case in Case::all()? {
        // Those of a real Vault are long, and the work grows with the square of that.
        let step = if case.truth()?.is_some() { 8 } else { 1 };
        for lost in (1..case.events.len()).step_by(step) {
            let kept = case
                .events
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != lost);
            let findings = replay(kept.map(|(_, event)| event));
            let hangs = findings.iter().filter_map(|finding| match finding {
                Finding::Hang(hang) => Some(hang),
                _ => None,
            });
            hangs.for_each(|hang| is_sound(hang, &format!("{} without event {lost}", case.name())));
        }
    }
    Ok(())
}

fn is_sound(hang: &Hang, case: &str) {
    let sum: Nanos = hang.stalls.iter().map(|stall| stall.duration).sum();
    assert_eq!(sum, hang.duration, "{case}");
    assert!(hang.end >= hang.start, "{case}");
    assert!(hang.duration <= hang.request.duration, "{case}: {hang:?}");
}
