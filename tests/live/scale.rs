//! Many of everything: that a stall is found in time does not depend on how many connections there are, nor on how many
//! requests wait behind it.

use std::{net::TcpStream, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{Family, Lab, Measured, scenario::BIG_REQUEST, wait};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use crate::outage::{DEFAULT_TIMEOUT, attach, lab_with};

const CONNECTIONS: usize = 10_000;
const QUEUED: usize = 1_000;

/// What else this process has open: to enter the namespace, each client takes some more.
const OTHERS: u64 = 5 * QUEUED as u64;

/// A stall is reported when it has lasted for so long; and how much later a busy machine may do so.
const THRESHOLD: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(2);

/// For a thousand requests at once, two processors need a while.
const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn a_thousand_requests_queue_among_ten_thousand_connections() -> Result<()> {
    let needed = CONNECTIONS as u64 + QUEUED as u64 + OTHERS;
    let (usual, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        most >= needed,
        "this needs {needed} open files, and may have {most} (ulimit -Hn)"
    );
    setrlimit(Resource::RLIMIT_NOFILE, needed.max(usual), most)?;
    let lab = lab_with(Family::V4, DEFAULT_TIMEOUT)?;
    let tracer = attach(&lab, &[])?;
    lab.client.get(BIG_REQUEST)?;
    let idle = connect(&lab)?;
    let (fault, _) = lab.cut_off()?;
    let asked: Vec<Measured> = thread::scope(|scope| {
        let clients: Vec<_> = (0..QUEUED)
            .map(|_| scope.spawn(|| lab.client.get(BIG_REQUEST)))
            .collect();
        let all_wait = |record: &Value| waiting(record) >= QUEUED as u64 * 9 / 10;
        let told = tracer.wait_for("the queue", LIMIT, all_wait);
        fault.lift()?;
        let asked = clients
            .into_iter()
            .map(|client| client.join().expect("a client panicked"));
        let asked = asked.collect::<Result<_>>()?;
        told.map(|_| asked)
    })?;
    drop(idle);
    let trace = tracer.stop()?;
    let delays: Vec<_> = trace
        .of_type("stalled")
        .into_iter()
        .map(delay)
        .collect::<Result<_>>()?;
    let (first, last) = (delays.iter().min(), delays.iter().max());
    println!(
        "{} stalls told {first:?} to {last:?} after they began",
        delays.len()
    );
    for delay in &delays {
        ensure!(*delay < THRESHOLD + LATE, "reported after {delay:?}");
    }
    let hangs = trace.hangs();
    println!("{} hangs, {}", hangs.len(), trace.summary()?);
    let blocked = asked
        .iter()
        .filter(|request| request.duration > THRESHOLD * 2)
        .count();
    ensure!(blocked >= QUEUED * 9 / 10, "{blocked} were blocked");
    // Those who came late may have waited for a processor instead.
    let long = asked.iter().filter(|request| request.hung()).count();
    ensure!(hangs.len() >= long, "{} of {long} hangs", hangs.len());
    ensure!(trace.summary()?["events_lost"] == 0, "{}", trace.summary()?);
    ensure!(!trace.stderr.contains("room"), "{}", trace.stderr);
    Ok(())
}

fn connect(lab: &Lab) -> Result<Vec<TcpStream>> {
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        idle.push(lab.client.stream()?);
    }
    // Accepted, each by a goroutine of its own.
    wait::until("the server to accept them", LIMIT, || {
        let answer = lab.client.get("/v1/sys/health")?;
        Ok((answer.status == 200).then_some(()))
    })?;
    Ok(idle)
}

fn waiting(record: &Value) -> u64 {
    record["waiting"].as_u64().unwrap_or(0)
}

/// From the beginning of a stall to when it was reported.
fn delay(stalled: &Value) -> Result<Duration> {
    let time = |field: &str| -> Result<Timestamp> {
        Ok(stalled[field].as_str().context("no time")?.parse()?)
    };
    Ok(time("at")?.duration_since(time("start")?).try_into()?)
}
