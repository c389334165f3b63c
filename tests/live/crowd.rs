//! Fifty clients at once over one dead device: each of them has its own hang, as long as it waited.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{
    Lab, Measured,
    scenario::BIG_REQUEST,
    server::{bao_from_environment, usual_tie},
    truth::{self, Client},
};
use serde_json::Value;

use crate::outage::attach;

const CLIENTS: usize = 50;

/// What two processors may take to work for fifty requests, before and between their waits, beside other tests: that is nobody's
/// hang.
const WORK: Duration = Duration::from_secs(1);

/// They wait for one another, entry by entry, until a sink's limit of 10 s lets them go; where there is none, a time-out as short
/// as this keeps the last one's wait near 10 s.
fn write_timeout() -> Result<&'static str> {
    let is_limited = usual_tie()? == "lineage";
    Ok(if is_limited { "250ms" } else { "50ms" })
}

fn each_of_fifty_has_its_hang(ask: impl FnOnce(&Lab) -> Result<Vec<Measured>>) -> Result<()> {
    let lab = Lab::builder(&bao_from_environment()?)
        .option("write_timeout", write_timeout()?)
        .server(lab::server::Builder::tls)
        .start()?;
    let tracer = attach(&lab, &[])?;
    let (fault, first) = lab.cut_off()?;
    let asked = ask(&lab)?;
    fault.lift()?;
    let trace = tracer.stop()?;
    ensure!(trace.summary()?["events_lost"] == 0, "{}", trace.stderr);
    let hangs = trace.hangs();
    let mut all: Vec<_> = asked.iter().map(Client::from).collect();
    report(&all, &hangs);
    all.push(Client::from(&first));
    truth::all_agree(&all, &hangs, WORK)
}

/// What `docs/vault-versions.md` says of fifty clients.
fn report(clients: &[Client], hangs: &[&Value]) {
    let difference = |client: &Client| {
        let own = client.hangs(hangs);
        let difference = client.took.abs_diff(truth::blocked(&own));
        (difference, truth::uncertainty(&own))
    };
    let mut worst: Vec<_> = clients.iter().map(difference).collect();
    worst.sort_unstable();
    let waited = clients.iter().map(|client| client.took);
    println!(
        "waited {:?} to {:?}; largest differences, and what the hangs leave open: {:?}",
        waited.clone().min(),
        waited.max(),
        &worst[worst.len() - 3..]
    );
}

#[test]
fn fifty_clients_with_a_connection_each() -> Result<()> {
    each_of_fifty_has_its_hang(|lab| lab.client.get_concurrently(CLIENTS, BIG_REQUEST))
}

#[test]
fn fifty_clients_over_tls() -> Result<()> {
    let paths = [BIG_REQUEST; CLIENTS];
    each_of_fifty_has_its_hang(|lab| lab.server.secure_client()?.get_each(&paths))
}

#[test]
fn fifty_streams_of_one_connection() -> Result<()> {
    let paths = [BIG_REQUEST; CLIENTS];
    each_of_fifty_has_its_hang(|lab| lab.server.secure_client()?.multiplex()?.get_each(&paths))
}
