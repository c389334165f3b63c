//! The trace as others read it.

use std::fs;

use anyhow::{Context, Result};
use lab::{Tracer, schema, tracer::agent_from_environment};
use serde_json::Value;
use tracer::event::FORMAT;

use crate::story::told;

#[test]
fn a_trace_keeps_every_promise_of_the_contract() -> Result<()> {
    let story = told()?;
    schema::check(&story.trace.text).with_context(|| story.trace.text.clone())
}

#[test]
fn a_trace_is_for_its_owners_eyes_only() -> Result<()> {
    assert_eq!(format!("{:o}", told()?.mode), "600");
    Ok(())
}

#[test]
fn a_replayed_recording_gives_the_same_trace_byte_for_byte() -> Result<()> {
    let story = told()?;
    let directory = tempfile::tempdir()?;
    let recording = directory.path().join("recording.jsonl");
    let output = directory.path().join("out.jsonl");
    fs::write(&recording, &story.trace.recording)?;
    let (from, to) = (recording.to_string_lossy(), output.to_string_lossy());
    let replay = Tracer::run(
        &agent_from_environment()?,
        &["replay", &from, "--output", &to],
    )?;
    let replay = replay.finish()?;
    assert!(replay.status.success(), "{}", replay.stderr);
    assert_eq!(fs::read_to_string(&output)?, story.trace.text);
    assert_eq!(replay.terminal, story.trace.terminal);
    Ok(())
}

#[test]
fn a_recording_says_first_what_it_is_and_how_it_came_to_be() -> Result<()> {
    let recording = &told()?.trace.recording;
    let first: Value = serde_json::from_str(recording.lines().next().context("empty")?)?;
    assert_eq!(
        (&first["event"], &first["format"]),
        (&"session".into(), &FORMAT.into())
    );
    assert_eq!(first["command"][1], "trace", "{first}");
    for field in ["version", "kernel", "host", "exe", "go_version"] {
        assert!(first[field].is_string(), "no {field}: {first}");
    }
    Ok(())
}
