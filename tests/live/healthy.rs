//! The negative twin of every hang: a server that works.

use anyhow::Result;
use lab::{Family, scenario};

use crate::story::{SHORT_TIMEOUT, attach, lab_with};

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
