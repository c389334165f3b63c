//! Several requests at once: their sinks queue for the device's lock.

use anyhow::{Context, Result};
use lab::{
    Fault, Measured, Trace,
    client_times::{check_one_at_a_time, client_requests, stalls},
    eventlogger::Builder,
    scenario::{BIG_REQUEST, PORT},
};
use serde_json::Value;

use super::{Scene, end, scene};
use crate::assertions::matches_clients;

const CLIENTS: usize = 4;
const DEVICE: &str = "10.77.0.2:1515";

/// A device without a connection, and all clients at once. Returns them, and before them whoever met
/// the full buffer.
fn convoy(scene: Scene) -> Result<(Vec<Measured>, Trace)> {
    scene.client.get(BIG_REQUEST)?;
    let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
    let mut all = vec![scene.fill()?];
    scene.wait_for_disconnect()?;
    all.extend(scene.client.get_concurrently(CLIENTS, BIG_REQUEST)?);
    fault.lift()?;
    let trace = scene.end(&all.iter().collect::<Vec<_>>())?;
    Ok((all, trace))
}

/// The hangs of each client are as long as it waited, and name the requests it waited for.
fn every_client_has_its_hangs(trace: &Trace, requests: &[Measured]) -> Result<()> {
    matches_clients(trace, &client_requests(requests), &[DEVICE.to_owned()])?;
    check_one_at_a_time(&trace.hangs()).with_context(|| trace.text.clone())
}

fn with_a_lock(trace: &Trace) -> usize {
    let hangs = trace.hangs().into_iter();
    let queued = hangs.filter(|hang| !stalls(hang, &["lock"]).is_empty());
    queued.count()
}

fn dials(hang: &Value) -> usize {
    stalls(hang, &["connect"]).len()
}

#[test]
fn each_request_of_a_convoy_has_its_own_stalls_and_its_waits() -> Result<()> {
    let (all, trace) = convoy(scene(&["write_timeout=500ms"], |s| s)?)?;
    every_client_has_its_hangs(&trace, &all)?;
    for hang in &trace.hangs()[1..] {
        assert_eq!(dials(hang), 4, "two for each entry: {hang}");
        assert_eq!(hang["request"]["tie"], "lineage", "{hang}");
    }
    assert!(with_a_lock(&trace) >= CLIENTS - 1, "{}", trace.text);
    Ok(())
}

/// One sink holds the lock until its context is over, and so is everybody's: for each entry, all but
/// one request never reach the device.
#[test]
fn a_request_that_gives_up_in_the_queue_has_a_hang_as_long_as_it_waited() -> Result<()> {
    let scene = scene(&["write_timeout=1s"], |s| {
        s.option("context=1500ms-detached")
    })?;
    let (all, trace) = convoy(scene)?;
    every_client_has_its_hangs(&trace, &all)?;
    let dialed: usize = trace.hangs()[1..].iter().map(|hang| dials(hang)).sum();
    // Two for each of the two entries; and one more for each that came later than the holder, and got the lock just before its
    // own context was over.
    let most = 2 * (2 + CLIENTS - 1);
    assert!((4..=most).contains(&dialed), "{dialed}: {}", trace.text);
    assert!(with_a_lock(&trace) >= CLIENTS - 1, "{}", trace.text);
    Ok(())
}

/// In HTTP/2 the request's goroutine is a child of the connection's, and its sinks are two further
/// down.
#[test]
fn streams_of_one_connection_queue_for_the_sink() -> Result<()> {
    let scene = scene(&["write_timeout=500ms"], Builder::tls)?;
    let mut connection = scene.server.secure_client()?.multiplex()?;
    connection.get(BIG_REQUEST)?;
    let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
    let mut all = Vec::new();
    while all.len() < 60 && all.last().is_none_or(|last: &Measured| !last.hung()) {
        all.push(connection.get(BIG_REQUEST)?);
    }
    scene.wait_for_disconnect()?;
    all.extend(connection.get_each(&["/v1/sys/a", "/v1/sys/b", "/v1/sys/c"])?);
    fault.lift()?;
    let trace = end(scene.tracer, &all.iter().collect::<Vec<_>>())?;
    every_client_has_its_hangs(&trace, &all)?;
    for hang in &trace.hangs()[1..] {
        assert_eq!(hang["request"]["http_version"], "2", "{hang}");
        assert_eq!(dials(hang), 4, "{hang}");
    }
    Ok(())
}
