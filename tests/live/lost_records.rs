//! The agent does not run for a while (SIGSTOP) and the kernel's ring buffer overflows: what was open before the loss takes
//! neither the name nor the end of a request that came after it.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{
    Client, Lab, Measured, Trace, client_times::duration, scenario::BIG_REQUEST, tracer::RECORD,
    truth::SEEN, wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::outage::{attach, lab};

const CLIENTS: usize = 4;
/// So many requests fill the ring buffer of 4 MB: two records of 2.3 kB each, and smaller ones.
const MANY: usize = 1200;
/// So many do not.
const FEW: usize = 100;
/// Of so many requests.
const LIMIT: Duration = Duration::from_mins(2);
/// Longer than a hang of the lab's requests: somebody is blocked all the time.
const OUTAGE: Duration = Duration::from_millis(1500);

#[test]
fn after_lost_records_no_hang_is_of_a_later_request() -> Result<()> {
    no_hang_is_of_another_request(MANY, &[RECORD])
}

/// The ring buffer overflows after the outage: what was open in it has no end that is known.
#[test]
fn an_outage_before_the_records_are_lost_takes_no_later_end() -> Result<()> {
    no_hang_is_of_another_request(FEW, &[RECORD])
}

#[test]
fn lost_records_of_a_server_in_normal_traffic_make_no_wrong_hang() -> Result<()> {
    no_hang_is_of_another_request(FEW, &[])
}

/// What asks the server all the time.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    /// Requests that were answered.
    answered: AtomicUsize,
}

impl Load {
    fn ask(&self, client: &Client) -> Result<Vec<Measured>> {
        let mut connection = client.connect()?;
        let mut requests = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            requests.push(connection.get(BIG_REQUEST)?);
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(requests)
    }

    /// Waits for so many further answers.
    fn wait_for(&self, requests: usize) -> Result<()> {
        let wanted = self.answered.load(Ordering::Relaxed) + requests;
        let enough = || self.answered.load(Ordering::Relaxed) >= wanted;
        wait::until("the requests", LIMIT, || Ok(enough().then_some(())))
    }
}

/// `healthy`: requests between the agent's stop and the outage.
fn no_hang_is_of_another_request(healthy: usize, arguments: &[&str]) -> Result<()> {
    let lab = lab()?;
    let load = Load::default();
    let (trace, requests) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| load.ask(&lab.client)))
            .collect();
        let traced = trace_with_a_pause(&lab, &load, healthy, arguments);
        load.over.store(true, Ordering::Relaxed);
        let joined = clients.into_iter().map(thread::ScopedJoinHandle::join);
        let requests = joined
            .map(|one| one.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()?;
        anyhow::Ok((traced?, requests.concat()))
    })?;
    let lost = trace.summary()?["events_lost"].as_u64();
    let must_lose = arguments.contains(&RECORD);
    ensure!(lost > Some(0) || !must_lose, "nothing was lost: {lost:?}");
    for hang in trace.hangs() {
        is_true(hang, &requests).with_context(|| format!("{lost:?} lost: {hang}"))?;
    }
    Ok(())
}

fn trace_with_a_pause(lab: &Lab, load: &Load, healthy: usize, arguments: &[&str]) -> Result<Trace> {
    let mut tracer = attach(lab, arguments)?;
    load.wait_for(FEW)?;
    tracer.signal(Signal::SIGSTOP)?;
    load.wait_for(healthy)?;
    let (fault, _) = lab.cut_off()?;
    thread::sleep(OUTAGE);
    fault.lift()?;
    load.wait_for(MANY)?;
    tracer.signal(Signal::SIGCONT)?;
    // While the agent catches up.
    load.wait_for(MANY / 2)?;
    tracer.stop()
}

/// If it has a name, it is of that request and within it; else neither it nor its request is longer than some request.
fn is_true(hang: &Value, requests: &[Measured]) -> Result<()> {
    let longest = requests.iter().map(|request| request.duration).max();
    let mut limit = longest.context("no request")?;
    if let Some(id) = hang["request"]["id"].as_str() {
        let is_own = |request: &&Measured| request.request_id.as_deref() == Some(id);
        // One more is the lab's own, see `Lab::cut_off`.
        let Some(own) = requests.iter().find(is_own) else {
            return Ok(());
        };
        limit = own.duration;
        began_within(hang, own)?;
    }
    for (what, told) in [
        ("it", duration(hang)),
        ("its request", duration(&hang["request"])),
    ] {
        ensure!(told <= limit + SEEN, "{what}: {told:?} of {limit:?}");
    }
    Ok(())
}

fn began_within(hang: &Value, own: &Measured) -> Result<()> {
    let start = time(hang)?;
    let began = own.started.duration_since(SystemTime::UNIX_EPOCH)?;
    ensure!(
        start + SEEN >= began && start <= began + own.duration,
        "it began at {start:?}, its request at {began:?} and took {:?}",
        own.duration
    );
    Ok(())
}

/// The start, since the epoch.
fn time(hang: &Value) -> Result<Duration> {
    let start: Timestamp = hang["start"].as_str().context("no start")?.parse()?;
    Ok(Duration::from_nanos(start.as_nanosecond() as u64))
}
