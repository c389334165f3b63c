//! The negative twin of every hang: a server that works.

use anyhow::{Context, Result};
use lab::{Family, Lab, replay, scenario, tracer::RECORD};

use crate::outage::{SHORT_TIMEOUT, attach, lab_with};

const CLIENTS: usize = 4;
const REQUESTS: usize = 250;

#[test]
fn a_healthy_server_under_load_shows_no_hang_and_every_request() -> Result<()> {
    is_healthy_under_load(Family::V4)
}

#[test]
fn over_ipv6_too() -> Result<()> {
    is_healthy_under_load(Family::V6)
}

/// What its requests are worth in records, and that they are held back otherwise.
#[test]
fn recorded_a_healthy_server_is_reported_whole() -> Result<()> {
    let lab = lab_with(Family::V4, SHORT_TIMEOUT)?;
    let told = events_of_load(&lab, &[RECORD])?;
    let held = events_of_load(&lab, &[])?;
    assert!(told >= 4 * CLIENTS * REQUESTS, "{told}");
    let is_held = held < CLIENTS * REQUESTS / 10;
    assert!(is_held || replay::all_record(), "{held} of {told}");
    Ok(())
}

fn events_of_load(lab: &Lab, arguments: &[&str]) -> Result<usize> {
    let tracer = attach(lab, arguments)?;
    scenario::load(&lab.client, CLIENTS, REQUESTS)?;
    let summary = tracer.stop()?.summary()?.clone();
    assert_eq!(summary["requests"], CLIENTS * REQUESTS, "{summary}");
    assert_eq!(summary["audit_writes"], 2 * CLIENTS * REQUESTS, "{summary}");
    let events = summary["events"].as_u64().context("no events")?;
    Ok(usize::try_from(events)?)
}

fn is_healthy_under_load(family: Family) -> Result<()> {
    let lab = lab_with(family, SHORT_TIMEOUT)?;
    let tracer = attach(&lab, &[])?;
    scenario::load(&lab.client, CLIENTS, REQUESTS)?;
    let trace = tracer.stop()?;
    assert!(trace.status.success(), "{}", trace.stderr);
    let reported: Vec<_> = trace.records.iter().map(|r| r["type"].clone()).collect();
    assert_eq!(reported, ["session", "summary"], "{}", trace.text);
    let summary = trace.summary()?;
    assert_eq!(summary["hangs"], 0);
    assert_eq!(summary["events_lost"], 0);
    assert_eq!(summary["requests"], CLIENTS * REQUESTS);
    assert_eq!(summary["audit_writes"], 2 * CLIENTS * REQUESTS);
    assert!(!trace.terminal.contains("warning"), "{}", trace.terminal);
    Ok(())
}
