//! Attached to a server that has been running for a while.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    Client, Family, Lab, Measured, Trace, Tracer, client_times::duration, scenario::BIG_REQUEST,
    sockets, wait,
};
use serde_json::Value;
use tracer_proc::TcpState;

use crate::{
    assertions,
    outage::{self, SHORT_TIMEOUT, attach, lab, lab_with},
};

/// For a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_connection_older_than_the_trace_is_known_all_the_same() -> Result<()> {
    let lab = lab()?;
    let tracer = attach_under_load(&lab)?;
    let [outage] = outage::run_outage_in(&lab, [tracer], Family::V4, SHORT_TIMEOUT)?;
    let hangs = outage.trace.hangs();
    assert_eq!(hangs.len(), 2, "{}", outage.trace.text);
    assertions::is_of(hangs[0], &outage.full, &outage.lab);
    assertions::is_of(hangs[1], &outage.next, &outage.lab);
    Ok(())
}

fn attach_under_load(lab: &Lab) -> Result<Tracer> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| ask_until(&lab.client, &over));
        let tracer = attach(lab, &[]);
        over.store(true, Ordering::Relaxed);
        load.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        tracer
    })
}

fn ask_until(client: &Client, over: &AtomicBool) -> Result<()> {
    let mut connection = client.connect()?;
    while !over.load(Ordering::Relaxed) {
        connection.get(BIG_REQUEST)?;
    }
    Ok(())
}

/// Nothing has been or will be written to it: the operator says what it is, or the code that waits does.
#[test]
fn a_device_dead_before_the_trace_began_is_found_in_the_code_that_waits_for_it() -> Result<()> {
    let lab = lab()?;
    let fault = lab.drop_output()?;
    lab.fill()?;
    let address = lab.log_address().to_string();
    let told = attach(&lab, &["--audit", &address])?;
    let untold = attach(&lab, &[])?;
    let request = lab.client.get(BIG_REQUEST)?;
    for tracer in [&told, &untold] {
        tracer.wait_for("the hang", LIMIT, |record| record["type"] == "hang")?;
    }
    fault.lift()?;
    for trace in [told.stop()?, untold.stop()?] {
        assert_eq!(trace.hangs().len(), 1, "{}", trace.text);
        assertions::is_attributed_to(trace.hangs()[0], &request, Family::V4);
    }
    Ok(())
}

/// Three attempts of `write_timeout` each. All that will ever be seen of the device are its connects.
#[test]
fn attached_in_the_middle_of_a_hang_the_rest_of_it_is_reported() -> Result<()> {
    // Two agents attach before the last one.
    const TIMEOUT: Duration = Duration::from_secs(3);
    let lab = lab_with(Family::V4, TIMEOUT)?;
    let fault = lab.drop_output()?;
    lab.log.reset_connections()?;
    let begun = Instant::now();
    let hanging = lab.client.get_in_background(BIG_REQUEST);
    wait::until("the first dial", TIMEOUT, || {
        let sockets = sockets::tcp_to(lab.server.pid(), lab.log_address())?;
        let dials = sockets.iter().any(|s| s.state == TcpState::SynSent);
        Ok(dials.then_some(()))
    })?;
    let told = attach(&lab, &["--audit", &lab.log_address().to_string()])?;
    let untold = attach(&lab, &[])?;
    let late = begun.elapsed();
    ensure!(!hanging.is_finished() && late < TIMEOUT * 2, "{late:?}");
    let request = hanging.join().expect("the client panicked")?;
    fault.lift()?;
    for trace in [told.stop()?, untold.stop()?] {
        ensure!(trace.hangs().len() == 1, "{}", trace.text);
        the_rest_is_reported(trace.hangs()[0], &request, late);
    }
    Ok(())
}

/// Four at once, of which three have not yet made a system call for the device.
#[test]
fn attached_in_the_middle_of_a_queue_everybody_in_it_is_reported() -> Result<()> {
    let lab = lab()?;
    let (fault, _) = lab.cut_off()?;
    let begun = Instant::now();
    let queue: Vec<_> = (0..4)
        .map(|_| lab.client.get_in_background(BIG_REQUEST))
        .collect();
    thread::sleep(SHORT_TIMEOUT / 2);
    let tracer = attach(&lab, &[])?;
    let late = begun.elapsed();
    let measured = queue
        .into_iter()
        .map(|request| request.join().expect("the client panicked"));
    let measured = measured.collect::<Result<Vec<_>>>()?;
    fault.lift()?;
    let trace = tracer.stop()?;
    // Of who was near the end by then, nothing may be left to see.
    let enough = late + SHORT_TIMEOUT + assertions::late();
    let waited: Vec<_> = measured
        .iter()
        .filter(|request| request.duration > enough)
        .collect();
    ensure!(!waited.is_empty(), "{late:?} late, and all are over");
    for request in waited {
        let hangs = of(&trace, request);
        ensure!(hangs.len() == 1, "{request:?}: {}", trace.text);
        the_rest_is_reported(hangs[0], request, late);
    }
    let ports: Vec<_> = measured.iter().map(|request| request.local_port).collect();
    let known = |hang: &&Value| {
        ports
            .iter()
            .any(|port| hang["request"]["client_port"] == *port)
    };
    ensure!(
        trace.hangs().iter().all(known),
        "somebody else's: {}",
        trace.text
    );
    Ok(())
}

fn of<'a>(trace: &'a Trace, request: &Measured) -> Vec<&'a Value> {
    let hangs = trace.hangs().into_iter();
    hangs
        .filter(|hang| hang["request"]["client_port"] == request.local_port)
        .collect()
}

/// Its request, its device, its cause; and of its time what passed since the tracer was there, but for a dial
/// whose beginning was missed.
fn the_rest_is_reported(hang: &Value, request: &Measured, late: Duration) {
    let said = &hang["request"];
    assert_eq!(said["id"].as_str(), request.request_id.as_deref(), "{hang}");
    assert_eq!(said["path"], request.audit_path(), "{hang}");
    assert_eq!(said["duration_is_lower_bound"], true, "{hang}");
    assert_eq!(hang["cause"], "local_drop", "{hang}");
    let dial = hang["stalls"]
        .as_array()
        .expect("stalls")
        .iter()
        .map(duration)
        .max();
    let least = request
        .duration
        .saturating_sub(late + dial.unwrap_or_default() + assertions::late());
    let ours = duration(hang);
    assert!(
        ours >= least && ours <= request.duration,
        "of {:?}, {late:?} late: {hang}",
        request.duration
    );
}
