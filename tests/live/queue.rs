//! Several clients at once over dead devices: each has a hang as long as it waited, which names the requests before it.

use std::collections::BTreeSet;

use anyhow::Result;
use lab::{
    Lab, Measured, Trace,
    client_times::{ClientRequest, check_one_at_a_time, client_requests, stalls},
    scenario::BIG_REQUEST,
    server::{bao_from_environment, usual_tie},
};
use serde_json::{Value, json};

use crate::{assertions::matches_clients, outage::attach};

/// How a number of clients ask at the same time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    /// A connection each.
    Http1,
    /// A connection each, with TLS.
    Http1Tls,
    /// A stream each of one connection.
    Http2,
}

/// What there was, and what is reported of it.
struct Queue {
    trace: Trace,
    /// Those who asked at the same time.
    clients: Vec<ClientRequest>,
    /// All requests.
    all: Vec<ClientRequest>,
    devices: Vec<String>,
}

/// So that eight in a row take 7 s.
const WRITE_TIMEOUT: &str = "200ms";

fn queue(protocol: Protocol, clients: usize, devices: u8) -> Result<Queue> {
    let lab = Lab::builder(&bao_from_environment()?)
        .devices(lab::Devices::Tcp(devices))
        .option("write_timeout", WRITE_TIMEOUT)
        .server(lab::server::Builder::tls)
        .start()?;
    let paths = secrets(&lab, clients)?;
    let tracer = attach(&lab, &[])?;
    let mut all = vec![lab.client.get(BIG_REQUEST)?];
    let (fault, first) = lab.cut_off()?;
    let clients = ask(&lab, protocol, &paths)?;
    fault.lift()?;
    all.extend([first, lab.client.get(BIG_REQUEST)?]);
    all.extend(clients.iter().cloned());
    Ok(Queue {
        trace: tracer.stop()?,
        clients: client_requests(&clients),
        all: client_requests(&all),
        devices: lab
            .log_addresses()
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}

/// A secret for each client, so that each has a path of its own.
fn secrets(lab: &Lab, clients: usize) -> Result<Vec<String>> {
    let path = |client| format!("/v1/secret/data/client-{client}");
    let paths: Vec<_> = (0..clients).map(path).collect();
    for path in &paths {
        lab.client
            .write_secret(path, &json!({ "data": { "of": path } }))?;
    }
    Ok(paths)
}

fn ask(lab: &Lab, protocol: Protocol, paths: &[String]) -> Result<Vec<Measured>> {
    match protocol {
        Protocol::Http1 => lab.client.get_each(paths),
        Protocol::Http1Tls => lab.server.secure_client()?.get_each(paths),
        Protocol::Http2 => lab.server.secure_client()?.multiplex()?.get_each(paths),
    }
}

/// Each client is accounted for, and its own stalls are its own.
fn every_client_has_its_hangs(protocol: Protocol, clients: usize, devices: u8) -> Result<()> {
    let queue = queue(protocol, clients, devices)?;
    let trace = &queue.trace;
    assert_eq!(trace.summary()?["events_lost"], 0);
    matches_clients(trace, &queue.all, &queue.devices)?;
    check_one_at_a_time(&trace.hangs())?;
    let (mut locks, mut exact) = (0, 0);
    for hang in queue.hangs_of_clients() {
        // What a connection with a single request speaks, nobody can see through TLS.
        if protocol != Protocol::Http2 || clients > 1 {
            let version = if protocol == Protocol::Http2 {
                "2"
            } else {
                "1.1"
            };
            assert_eq!(hang["request"]["http_version"], version, "{hang}");
        }
        for lock in stalls(hang, &["lock"]) {
            locks += 1;
            exact += usize::from(lock["uncertainty_ns"].is_null());
            assert_eq!(lock["cause"], "local_drop", "the holder's: {hang}");
            assert_eq!(lock["outcome"], "ok", "{hang}");
        }
        let own = stalls(hang, &["connect", "write"]);
        let outcomes: Vec<_> = own.iter().map(|stall| &stall["outcome"]).collect();
        assert_eq!(outcomes, ["timeout"; 4], "two dials for each entry: {hang}");
    }
    // The mutex itself says since when it is waited for, to a sample in time; what sinks queue by does not.
    assert!(
        exact * 2 >= locks || usual_tie()? == "lineage",
        "{exact} of {locks}: {}",
        trace.text
    );
    Ok(())
}

impl Queue {
    fn hangs_of_clients(&self) -> impl Iterator<Item = &Value> {
        let ids: BTreeSet<_> = self
            .clients
            .iter()
            .map(|client| client.id.as_deref())
            .collect();
        let hangs = self.trace.hangs().into_iter();
        hangs.filter(move |hang| ids.contains(&hang["request"]["id"].as_str()))
    }
}

#[test]
fn one_client_over_one_dead_device() -> Result<()> {
    every_client_has_its_hangs(Protocol::Http1, 1, 1)
}

#[test]
fn one_stream_over_two_dead_devices() -> Result<()> {
    every_client_has_its_hangs(Protocol::Http2, 1, 2)
}

#[test]
fn four_clients_with_tls_over_two_dead_devices() -> Result<()> {
    every_client_has_its_hangs(Protocol::Http1Tls, 4, 2)
}

#[test]
fn eight_clients_over_two_dead_devices() -> Result<()> {
    every_client_has_its_hangs(Protocol::Http1, 8, 2)
}

#[test]
fn eight_streams_over_one_dead_device() -> Result<()> {
    every_client_has_its_hangs(Protocol::Http2, 8, 1)
}
