//! Every way in which a trace ends.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::scenario::BIG_REQUEST;
use lab::{Family, Lab, Trace, sockets, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::outage::{attach, lab, lab_with};

const LIMIT: Duration = Duration::from_secs(20);

/// More than sinks get at the end and a busy machine takes for all else.
const PATIENCE: Duration = Duration::from_secs(15);
/// So that the hang goes on while both agents end.
const TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn a_signal_in_the_middle_of_a_hang_ends_the_trace_with_what_was_seen_so_far() -> Result<()> {
    let lab = lab_with(Family::V4, TIMEOUT)?;
    let (mut interrupted, mut terminated) = (attach(&lab, &[])?, attach(&lab, &[])?);
    let fault = lab.drop_output()?;
    lab.fill()?;
    let hanging = lab.client.get_in_background(BIG_REQUEST);
    wait_for_the_second_dial(&lab)?;
    interrupted.signal(Signal::SIGINT)?;
    terminated.signal(Signal::SIGTERM)?;
    let traces = [interrupted.finish()?, terminated.finish()?];
    fault.lift()?;
    let request = hanging.join().expect("the client panicked")?;
    for trace in &traces {
        ended_well(trace)?;
        let hangs = trace.hangs();
        assert_eq!(hangs.len(), 2, "{}", trace.text);
        assert_eq!(hangs[1]["request"]["client_port"], request.local_port);
        let stalls = hangs[1]["stalls"].as_array().expect("stalls");
        let outcomes: Vec<_> = stalls
            .iter()
            .map(|stall| stall["outcome"].as_str())
            .collect();
        assert_eq!(outcomes.last(), Some(&None), "{}", hangs[1]);
        assert!(
            outcomes.len() >= 2 && outcomes[0] == Some("timeout"),
            "{}",
            hangs[1]
        );
    }
    Ok(())
}

/// Two local ports have been seen in `SYN_SENT`: one dial is over, the next is under way.
fn wait_for_the_second_dial(lab: &Lab) -> Result<()> {
    let mut ports = BTreeSet::new();
    wait::until("the second dial", LIMIT, || {
        let dialing = sockets::tcp_to(lab.server.pid(), lab.log_address())?;
        let dialing = dialing
            .iter()
            .filter(|socket| socket.state == tracer_proc::TcpState::SynSent);
        ports.extend(dialing.map(|socket| socket.local.port()));
        Ok((ports.len() > 1).then_some(()))
    })
}

fn ended_well(trace: &Trace) -> Result<()> {
    ensure!(trace.status.success(), "{}: {}", trace.status, trace.stderr);
    trace.summary().map(drop)
}

/// A collector that takes connections and answers nothing.
#[test]
fn a_collector_that_is_stuck_does_not_keep_a_trace_from_its_end() -> Result<()> {
    let lab = lab()?;
    let stuck = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", stuck.local_addr()?);
    let tracer = attach(&lab, &["--otlp-endpoint", &url, "--quiet"])?;
    assert_eq!(lab.client.get(BIG_REQUEST)?.status, 200);
    let begun = Instant::now();
    let trace = tracer.end_with(Signal::SIGINT)?;
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    // The file has everything; the collector, of the session's span, nothing.
    assert_eq!(trace.summary()?["requests"], 1, "{}", trace.text);
    assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
    let lost = format!("1 spans could not be written to the collector at {url}");
    assert!(trace.stderr.contains(&lost), "{}", trace.stderr);
    Ok(())
}

#[test]
fn a_trace_of_two_seconds_ends_after_two_seconds() -> Result<()> {
    let lab = lab()?;
    let begun = Instant::now();
    let trace = attach(&lab, &["--duration", "2s"])?.finish()?;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    ended_well(&trace)
}

#[test]
fn a_server_that_dies_ends_its_trace() -> Result<()> {
    let mut lab = lab()?;
    let tracer = attach(&lab, &[])?;
    lab.client.get(BIG_REQUEST)?;
    kill(Pid::from_raw(lab.server.pid() as i32), Signal::SIGKILL)?;
    lab.server.stop()?;
    let trace = tracer.finish()?;
    assert!(trace.stderr.contains("has ended"), "{}", trace.stderr);
    assert_eq!(trace.summary()?["requests"], 1);
    ended_well(&trace)
}

#[test]
fn a_killed_tracer_leaves_nothing_in_the_kernel_and_the_server_at_work() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &[])?;
    let programs = tracer.programs()?;
    assert!(!programs.is_empty() && loaded().is_superset(&programs));
    let trace = tracer.end_with(Signal::SIGKILL)?;
    assert!(!trace.status.success());
    // The kernel frees programs some time after their last user.
    wait::until("the programs to be gone", LIMIT, || {
        Ok(loaded().is_disjoint(&programs).then_some(()))
    })?;
    assert_eq!(lab.client.get(BIG_REQUEST)?.status, 200);
    Ok(())
}

/// Without those of others that are gone by the time they are looked at.
fn loaded() -> BTreeSet<u32> {
    let loaded = aya::programs::loaded_programs();
    loaded.flatten().map(|program| program.id()).collect()
}

#[test]
fn two_traces_of_one_server_do_not_disturb_each_other() -> Result<()> {
    let lab = lab()?;
    let tracers = [attach(&lab, &[])?, attach(&lab, &[])?];
    thread::scope(|scope| scope.spawn(|| lab.client.get(BIG_REQUEST)).join())
        .expect("the client panicked")?;
    for tracer in tracers {
        let trace = tracer.stop()?;
        assert_eq!(trace.summary()?["requests"], 1, "{}", trace.text);
    }
    Ok(())
}
