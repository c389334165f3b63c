//! The agent does not run for a while (SIGSTOP) and the kernel's ring buffer overflows: what was open before the loss takes
//! neither the name nor the end of a request that came after it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{
    Client, Measured, Trace, client_times::duration, scenario::BIG_REQUEST, tracer::RECORD,
    truth::SEEN,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::outage::{attach, lab};

const CLIENTS: usize = 4;
/// Long enough for four clients to fill the ring buffer, before and after the outage.
const LOAD: Duration = Duration::from_secs(6);

#[test]
fn after_lost_records_no_hang_is_of_a_later_request() -> Result<()> {
    let lab = lab()?;
    let over = AtomicBool::new(false);
    let (trace, requests) = thread::scope(|scope| {
        let load: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| ask_until(&lab.client, &over)))
            .collect();
        let traced = trace_with_a_pause(&lab);
        over.store(true, Ordering::Relaxed);
        let joined = load.into_iter().map(|thread| thread.join());
        let requests = joined
            .map(|one| one.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()?;
        anyhow::Ok((traced?, requests.concat()))
    })?;
    let lost = trace.summary()?["events_lost"].as_u64();
    ensure!(lost > Some(0), "nothing was lost: {lost:?}");
    for hang in trace.hangs() {
        is_true(hang, &requests).with_context(|| format!("{lost:?} lost: {hang}"))?;
    }
    Ok(())
}

fn trace_with_a_pause(lab: &lab::Lab) -> Result<Trace> {
    let mut tracer = attach(lab, &[RECORD])?;
    thread::sleep(LOAD / 6); // healthy load
    tracer.signal(Signal::SIGSTOP)?;
    thread::sleep(LOAD);
    let (fault, _) = lab.cut_off()?;
    thread::sleep(LOAD / 4); // the outage
    fault.lift()?;
    thread::sleep(LOAD);
    tracer.signal(Signal::SIGCONT)?;
    thread::sleep(LOAD / 2); // the agent catches up
    tracer.stop()
}

fn ask_until(client: &Client, over: &AtomicBool) -> Result<Vec<Measured>> {
    let mut connection = client.connect()?;
    let mut requests = Vec::new();
    while !over.load(Ordering::Relaxed) {
        requests.push(connection.get(BIG_REQUEST)?);
    }
    Ok(requests)
}

/// If it has a name, it is of that request and within it; else no longer than some request.
fn is_true(hang: &Value, requests: &[Measured]) -> Result<()> {
    let told = duration(hang);
    let Some(id) = hang["request"]["id"].as_str() else {
        let longest = requests.iter().map(|r| r.duration).max();
        ensure!(
            Some(told) <= longest.map(|longest| longest + SEEN),
            "too long"
        );
        return Ok(());
    };
    let own = requests
        .iter()
        .find(|r| r.request_id.as_deref() == Some(id));
    // One more is the lab's own, see `Lab::cut_off`.
    let Some(own) = own else { return Ok(()) };
    ensure!(told <= own.duration + SEEN, "it took {:?}", own.duration);
    let start = time(hang)?;
    let began = own.started.duration_since(SystemTime::UNIX_EPOCH)?;
    ensure!(
        start + SEEN >= began && start <= began + own.duration,
        "it began at {began:?}, not {start:?}"
    );
    Ok(())
}

/// The start, since the epoch.
fn time(hang: &Value) -> Result<Duration> {
    let start: Timestamp = hang["start"].as_str().context("no start")?.parse()?;
    Ok(Duration::from_nanos(start.as_nanosecond() as u64))
}
