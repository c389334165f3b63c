//! The twins of the queue: what takes its time for reasons of its own while somebody else is stalled in a device.

use std::io::{Read, Write};

use anyhow::{Result, ensure};
use lab::{
    Lab, Measured, Trace, client_times::client_requests, scenario::BIG_REQUEST, server::TOKEN,
    states::big_secret,
};
use serde_json::json;

use crate::{
    assertions::matches_clients,
    outage::{SHORT_TIMEOUT, attach, lab},
};

/// Somebody hangs, and meanwhile something else happens. No hang is reported but of those who are given.
fn only_these_hang(lab: &Lab, trace: &Trace, requests: &[Measured]) -> Result<()> {
    ensure!(trace.hangs().len() == 2, "{}", trace.text);
    matches_clients(
        trace,
        &client_requests(requests),
        &[lab.log_address().to_string()],
    )
}

#[test]
fn a_client_that_sends_slowly_does_not_wait_for_the_device() -> Result<()> {
    let lab = lab()?;
    let body = json!({ "data": { "value": "x".repeat(100) } }).to_string();
    let (early, late) = body.split_at(20);
    let mut slow = lab.client.stream()?;
    let tracer = attach(&lab, &[])?;
    let (fault, first) = lab.cut_off()?;
    let hanging = lab.client.get_in_background(BIG_REQUEST);
    write!(slow, "{}", head("PUT", "small", body.len()))?;
    slow.write_all(early.as_bytes())?;
    let hung = hanging.join().expect("the client panicked")?;
    fault.lift()?;
    slow.write_all(late.as_bytes())?;
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"));
    only_these_hang(&lab, &tracer.stop()?, &[first, hung])
}

#[test]
fn a_client_that_reads_slowly_does_not_wait_for_the_device() -> Result<()> {
    let lab = lab()?;
    lab.client
        .write_secret("/v1/secret/data/big", &big_secret())?;
    let mut slow = lab.client.stream()?;
    let tracer = attach(&lab, &[])?;
    write!(slow, "{}", head("GET", "big", 0))?;
    let mut answer = vec![0; 12];
    slow.read_exact(&mut answer)?; // both entries are written
    let (fault, first) = lab.cut_off()?;
    let hung = lab.client.get(BIG_REQUEST)?;
    slow.read_to_end(&mut answer)?;
    ensure!(answer.len() > 8 << 20 && answer.starts_with(b"HTTP/1.1 200"));
    fault.lift()?;
    only_these_hang(&lab, &tracer.stop()?, &[first, hung])
}

#[test]
fn idle_connections_and_requests_without_an_entry_do_not_wait_for_the_device() -> Result<()> {
    let lab = lab()?;
    let mut idle = lab.client.connect()?;
    let tracer = attach(&lab, &[])?;
    let mut all = vec![idle.get(BIG_REQUEST)?];
    let (fault, first) = lab.cut_off()?;
    let hanging = lab.client.get_in_background(BIG_REQUEST);
    let health = lab.client.get("/v1/sys/health")?; // is not audited
    // Else it would wait for two dials of each of its entries.
    let blocked = SHORT_TIMEOUT * 4;
    ensure!(
        health.duration < blocked && !hanging.is_finished(),
        "{health:?}"
    );
    let hung = hanging.join().expect("the client panicked")?;
    fault.lift()?;
    all.extend([first, health, hung, idle.get(BIG_REQUEST)?]);
    only_these_hang(&lab, &tracer.stop()?, &all)
}

fn head(method: &str, secret: &str, length: usize) -> String {
    format!(
        "{method} /v1/secret/data/{secret} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\
         X-Vault-Token: {TOKEN}\r\nContent-Length: {length}\r\n\r\n"
    )
}
