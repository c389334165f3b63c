//! The trace as others read it.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use lab::{
    Tracer, replay::replay, scenario::BIG_REQUEST, schema, server::bao_from_environment,
    states::DROP_ON_VAULT_HOST, tracer::agent_from_environment,
};
use serde_json::Value;
use tracer_model::FORMAT;

use crate::outage::short_outage;

#[test]
fn a_trace_keeps_every_promise_of_the_contract() -> Result<()> {
    let outage = short_outage()?;
    schema::check(&outage.trace.text).with_context(|| outage.trace.text.clone())
}

#[test]
fn a_trace_is_for_its_owners_eyes_only() -> Result<()> {
    assert_eq!(format!("{:o}", short_outage()?.mode), "600");
    Ok(())
}

/// That of each recorded trace is what it was live, the lab sees to itself. These are several agents at once, each with a file and a recording of its own.
#[test]
fn a_replay_gives_the_same_file_in_every_format() -> Result<()> {
    let mut lab = DROP_ON_VAULT_HOST.lab(&bao_from_environment()?)?;
    let directory = tempfile::tempdir()?;
    let of = |name: &str, end: &str| directory.path().join(format!("{name}{end}"));
    let attach = |name: &str| {
        let mut command = Command::new(agent_from_environment()?);
        command.args(["trace", "--pid", &lab.server.pid().to_string(), "--output"]);
        command.arg(of("live.", name)).arg("--record");
        Tracer::attach_by(command.arg(of(name, ".gz")))
    };
    let names = ["jsonl", "otlp.json", "pftrace"];
    let tracers = names.map(attach);
    (DROP_ON_VAULT_HOST.happen)(&mut lab)?;
    lab.client.get(BIG_REQUEST)?;
    for tracer in tracers {
        tracer?.stop()?;
    }
    for name in names {
        replay(&of(name, ".gz"), &of("replayed.", name), &[])?;
        let (live, replayed) = (
            fs::read(of("live.", name))?,
            fs::read(of("replayed.", name))?,
        );
        ensure!(live.len() > 1_000, "{name}: {} bytes", live.len());
        ensure!(live == replayed, "{name} differs");
    }
    Ok(())
}

#[test]
fn a_recording_says_first_what_it_is_and_how_it_came_to_be() -> Result<()> {
    let recording = &short_outage()?.trace.recording;
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
