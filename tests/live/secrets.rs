//! What audit devices with `log_raw` carry in clear stays with them.

use std::time::Duration;

use anyhow::Result;
use lab::{
    Client, Family, Lab, LogServer, Trace, server::bao_from_environment, tracer::RECORD, wait,
};
use serde_json::json;

use crate::outage::attach;

const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: &str = "s3cret-token";
const VALUE: &str = "s3cret-value";
const OPTIONS: [(&str, &str); 2] = [("write_timeout", "500ms"), ("log_raw", "true")];

#[test]
fn raw_secrets_reach_no_file_and_no_terminal_of_ours() -> Result<()> {
    secrets_stay(&["--verbose"]).map(drop)
}

#[test]
fn nor_a_recording() -> Result<()> {
    secrets_stay(&["--verbose", RECORD]).map(drop)
}

/// Nor is there, on request, more of a path than its mount.
#[test]
fn nor_do_paths_where_that_is_asked_for() -> Result<()> {
    let trace = secrets_stay(&["--verbose", RECORD, "--paths", "mount"])?;
    let whole = ["secret/data", "auth/token/create", "sys/mounts"];
    for kept in written(&trace) {
        assert!(whole.iter().all(|path| !kept.contains(path)), "{kept}");
    }
    assert!(trace.text.contains(r#""path":"secret/""#), "{}", trace.text);
    Ok(())
}

fn secrets_stay(arguments: &[&str]) -> Result<Trace> {
    let lab = Lab::start_with(&bao_from_environment()?, Family::V4, &OPTIONS)?;
    let tracer = attach(&lab, arguments)?;
    lab.client.put(
        "/v1/auth/token/create",
        &json!({ "id": TOKEN, "policies": ["root"] }),
    )?;
    let address = lab.server.address(Family::V4);
    let client = Client::new(&lab.network.vault, address, TOKEN);
    client.put(
        "/v1/secret/data/app",
        &json!({ "data": { "password": VALUE } }),
    )?;
    client.get("/v1/secret/data/app")?;
    // Else the test proves nothing.
    wait::until("both secrets at the log server", PATIENCE, || {
        Ok(carries_both(&lab.log).then_some(()))
    })?;
    let fault = lab.drop_output()?;
    lab::scenario::fill(&client)?;
    client.put(
        "/v1/secret/data/app",
        &json!({ "data": { "password": VALUE } }),
    )?;
    fault.lift()?;
    let trace = tracer.stop()?;
    assert!(trace.hangs().len() >= 2, "{}", trace.text);
    assert!(!trace.terminal.is_empty() && !trace.stderr.is_empty());
    assert!(!arguments.contains(&RECORD) || !trace.recording.is_empty());
    for kept in written(&trace) {
        assert!(!kept.contains("s3cret"), "{kept}");
    }
    Ok(trace)
}

fn written(trace: &Trace) -> [&String; 4] {
    [
        &trace.text,
        &trace.recording,
        &trace.terminal,
        &trace.stderr,
    ]
}

fn carries_both(log: &LogServer) -> bool {
    let lines = log.lines();
    let holds = |secret: &str| {
        let among = |line: &Vec<u8>| {
            line.windows(secret.len())
                .any(|part| part == secret.as_bytes())
        };
        lines.iter().any(among)
    };
    holds(TOKEN) && holds(VALUE)
}
