//! The trace as others read it.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    Family, Trace, Tracer,
    client_times::duration,
    replay::replay,
    scenario::BIG_REQUEST,
    schema,
    server::bao_from_environment,
    states::DROP_ON_VAULT_HOST,
    tracer::{RECORD, agent_from_environment},
};
use serde_json::Value;
use tracer_model::FORMAT;

use crate::outage::{SHORT_TIMEOUT, run_outage};

#[test]
fn what_an_outage_leaves_keeps_every_promise_of_the_contract() -> Result<()> {
    let outage = run_outage(Family::V4, SHORT_TIMEOUT, &[RECORD])?;
    let trace = &outage.trace;
    schema::check(&trace.text).with_context(|| trace.text.clone())?;
    assert_eq!(format!("{:o}", outage.mode), "600", "its owner's alone");
    incident_lasts_from_the_first_failure_to_the_first_success(trace);
    recording_says_first_what_it_is(&trace.recording)
}

fn incident_lasts_from_the_first_failure_to_the_first_success(trace: &Trace) {
    let incidents = trace.of_type("incident");
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let incident = incidents[0];
    assert_eq!(incident["cause"], "local_drop", "{incident}");
    assert_eq!(incident["hangs"], 2, "{incident}");
    assert_eq!(incident["requests"], 2, "{incident}");
    let hangs = trace.hangs();
    let blocked = hangs.iter().map(|hang| duration(hang)).sum::<Duration>();
    let said = incident["blocked_ns"].as_u64().map(Duration::from_nanos);
    assert_eq!(said, Some(blocked), "{incident}");
    assert_eq!(incident["start"], hangs[0]["start"], "{incident}");
    assert!(
        incident["end"].as_str() >= hangs[1]["end"].as_str(),
        "{incident}"
    );
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

fn recording_says_first_what_it_is(recording: &str) -> Result<()> {
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
