//! The negative twin of every hang: a server that works.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Family, Measured, Trace, replay, scenario, tracer::RECORD, truth};

use crate::outage::{SHORT_TIMEOUT, attach, lab_with};

const CLIENTS: usize = 4;
const REQUESTS: usize = 250;
/// The agent's threshold.
const WAIT: Duration = Duration::from_millis(100);

/// Recorded, each of its requests is worth some events; else they are held back.
#[test]
fn a_healthy_server_under_load_shows_no_hang_and_every_request() -> Result<()> {
    let lab = lab_with(Family::V4, SHORT_TIMEOUT)?;
    let (recorded, buffered) = (attach(&lab, &[RECORD])?, attach(&lab, &[])?);
    let requests = scenario::load(&lab.client, CLIENTS, REQUESTS)?;
    let (recorded, buffered) = (recorded.stop()?, buffered.stop()?);
    let told = events(&recorded, &requests)?;
    let held = events(&buffered, &requests)?;
    assert!(told >= 4 * CLIENTS * REQUESTS, "{told}");
    // Whoever waits, if only for a processor, ends the buffering.
    let waited = requests.iter().any(|request| request.duration > WAIT);
    let is_held = held < CLIENTS * REQUESTS / 10 || waited;
    assert!(is_held || replay::all_record(), "{held} of {told}");
    Ok(())
}

#[test]
fn over_ipv6_too() -> Result<()> {
    let lab = lab_with(Family::V6, SHORT_TIMEOUT)?;
    let tracer = attach(&lab, &[])?;
    let requests = scenario::load(&lab.client, CLIENTS, REQUESTS)?;
    events(&tracer.stop()?, &requests).map(drop)
}

/// How many there were, of a trace that has nothing but these requests to say.
fn events(trace: &Trace, requests: &[Measured]) -> Result<usize> {
    assert!(trace.status.success(), "{}", trace.stderr);
    let clients: Vec<_> = requests.iter().map(truth::Client::from).collect();
    truth::no_false_alarm(&clients, trace)?;
    if trace.hangs().is_empty() {
        let reported: Vec<_> = trace.records.iter().map(|r| r["type"].clone()).collect();
        assert_eq!(reported, ["session", "summary"], "{}", trace.text);
    }
    let summary = trace.summary()?;
    assert_eq!(summary["events_lost"], 0);
    assert_eq!(summary["requests"], CLIENTS * REQUESTS);
    assert_eq!(summary["audit_writes"], 2 * CLIENTS * REQUESTS);
    assert!(!trace.terminal.contains("warning"), "{}", trace.terminal);
    let events = summary["events"].as_u64().context("no events")?;
    Ok(usize::try_from(events)?)
}
