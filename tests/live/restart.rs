//! A server that ends and comes back, under one and the same trace.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{
    AuditDevice, Client, Endpoint, Family, Fault, LogServer, Measured, Network, Server, Tracer,
    client_times::client_requests,
    scenario::{BIG_REQUEST, PORT},
    server::{bao_from_environment, own_name},
    tracer::agent_from_environment,
};

use crate::assertions::matches_clients;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_server_traced_by_its_name_is_traced_again_after_its_restart() -> Result<()> {
    let name = own_name("bao-that-restarts");
    let network = Network::create(1)?;
    let at = network.logs[0].port(Family::V4, PORT);
    let log = LogServer::start(&network.logs[0].namespace, Endpoint::Tcp(at))?;
    let socket = AuditDevice::socket("to-socket", &Endpoint::Tcp(at));
    let builder = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(socket.option("write_timeout", "200ms"))
        .program_name(&name);
    let server = builder.start(&network.vault)?;
    let tracer = Tracer::attach_by_name(&agent_from_environment()?, &name, &[])?;
    let mut all = hang(&network, &log, &server.client(Family::V4))?;
    drop(server);
    thread::sleep(Duration::from_secs(1)); // long enough to notice, and to be waiting
    let server = builder.start(&network.vault)?;
    let attached = tracer.wait_for("the tracer to attach again", LIMIT, |record| {
        record["type"] == "attached"
    })?;
    assert_eq!(attached["pid"], server.pid(), "{attached}");
    assert_eq!(
        attached["exe"],
        server.executable().to_string_lossy().as_ref()
    );
    for field in ["go_version", "start"] {
        ensure!(attached[field].is_string(), "{field}: {attached}");
    }
    all.extend(hang(&network, &log, &server.client(Family::V4))?);
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    matches_clients(&trace, &client_requests(&all), &[at.to_string()])
}

/// Killed while a request is blocked: the record says when, and what it cut has no outcome.
#[test]
fn a_server_that_is_killed_in_mid_hang_ends_what_was_under_way() -> Result<()> {
    let name = own_name("bao-that-is-killed");
    let network = Network::create(1)?;
    let at = network.logs[0].port(Family::V4, PORT);
    let log = LogServer::start(&network.logs[0].namespace, Endpoint::Tcp(at))?;
    let socket = AuditDevice::socket("to-socket", &Endpoint::Tcp(at));
    let builder = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(socket)
        .program_name(&name);
    let mut server = builder.start(&network.vault)?;
    let tracer = Tracer::attach_by_name(&agent_from_environment()?, &name, &[])?;
    let client = server.client(Family::V4);
    client.get(BIG_REQUEST)?;
    let fault = Fault::drop_output(PORT).apply(&network.vault)?;
    log.reset_connections()?;
    let blocked = client.get_in_background(BIG_REQUEST);
    tracer.wait_for("a stall", LIMIT, |record| record["type"] == "stalled")?;
    let before = Timestamp::now();
    server.kill()?;
    let after = Timestamp::now();
    ensure!(
        blocked.join().expect("the client panicked").is_err(),
        "it was answered"
    );
    fault.lift()?;
    let ended = tracer.wait_for("the end", LIMIT, |record| record["type"] == "ended")?;
    let at_end: Timestamp = ended["at"].as_str().context("no time")?.parse()?;
    // When the agent has a processor to see it.
    let seen = Duration::from_secs(2);
    ensure!(
        before <= at_end && at_end <= after + seen,
        "killed from {before} to {after}: {ended}"
    );
    let server = builder.start(&network.vault)?;
    tracer.wait_for("the tracer to attach again", LIMIT, |record| {
        record["type"] == "attached"
    })?;
    let healthy = server.client(Family::V4).get(BIG_REQUEST)?;
    ensure!(!healthy.hung(), "{:?}", healthy.duration);
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    let hangs = trace.hangs();
    assert_eq!(hangs.len(), 1, "{}", trace.text);
    let stalls = hangs[0]["stalls"].as_array().context("no stalls")?;
    let last = stalls.last().context("no stall")?;
    assert!(last["outcome"].is_null(), "{}", hangs[0]);
    let end: Timestamp = hangs[0]["end"].as_str().context("no end")?.parse()?;
    ensure!(end <= at_end, "after the server: {}", hangs[0]);
    Ok(())
}

/// Two requests that hang and one that does not.
fn hang(network: &Network, log: &LogServer, client: &Client) -> Result<Vec<Measured>> {
    let fault = Fault::drop_output(PORT).apply(&network.vault)?;
    log.reset_connections()?;
    let mut requests = vec![client.get(BIG_REQUEST)?];
    requests.extend(client.get_concurrently(2, BIG_REQUEST)?);
    fault.lift()?;
    requests.push(client.get(BIG_REQUEST)?);
    Ok(requests)
}
