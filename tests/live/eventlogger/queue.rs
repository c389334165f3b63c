//! Several requests at once: their sinks queue for the device's lock.

use std::time::Duration;

use anyhow::Result;
use lab::{Family, Fault, Measured, Trace, scenario::BIG_REQUEST, scenario::PORT};

use super::{Scene, TIMEOUT, hang_of, scene};
use crate::expect::{self, nanoseconds};

const CLIENTS: usize = 4;

/// A device without a connection, and all clients at once.
fn convoy(scene: Scene) -> Result<(Vec<Measured>, Trace)> {
    scene.client.get(BIG_REQUEST)?;
    let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
    scene.fill()?;
    scene.wait_for_disconnect()?;
    let convoy = scene.client.get_concurrently(CLIENTS, BIG_REQUEST)?;
    fault.lift()?;
    let trace = scene.end(&convoy.iter().collect::<Vec<_>>())?;
    assert_eq!(trace.hangs().len(), CLIENTS + 1, "{}", trace.text);
    Ok((convoy, trace))
}

/// All that the client waited for is told, and whom it is told of. Who queues is looked at twice a
/// second.
fn explains_all_of_it(trace: &Trace, request: &Measured, ties: &[&str]) -> Result<()> {
    let hang = hang_of(trace, request)?;
    expect::is_about(hang, request, Family::V4);
    let tie = hang["request"]["tie"].as_str().unwrap_or_default();
    assert!(ties.contains(&tie), "{hang}");
    let ours = nanoseconds(&hang["duration_ns"]);
    let off = request.duration.abs_diff(ours);
    assert!(off < TIMEOUT, "{:?}: {hang}", request.duration);
    Ok(())
}

fn queued(trace: &Trace) -> usize {
    let hangs = trace.hangs().into_iter();
    let queued = hangs.filter(|hang| hang["stalls"].to_string().contains("\"lock\""));
    queued.count()
}

#[test]
fn each_request_of_a_convoy_is_told_its_own_stalls_and_its_waits() -> Result<()> {
    let (convoy, trace) = convoy(scene(&["write_timeout=500ms"], |s| s)?)?;
    for request in &convoy {
        explains_all_of_it(&trace, request, &["lineage"])?;
        let hang = hang_of(&trace, request)?;
        let stalls = hang["stalls"].as_array().expect("stalls");
        let own = stalls.iter().filter(|stall| stall["op"] == "connect");
        let own: Vec<_> = own.map(|s| nanoseconds(&s["duration_ns"])).collect();
        assert_eq!(own.len(), 4, "{hang}");
        let mean = own.iter().sum::<Duration>() / 4;
        assert!(mean.abs_diff(TIMEOUT) < TIMEOUT / 5, "{hang}");
    }
    assert!(
        queued(&trace) >= CLIENTS - 1,
        "all but the first queued: {}",
        trace.text
    );
    Ok(())
}

/// One sink holds the lock until its context is over, and so is everybody's: for each entry, all but
/// one request never reach the device.
#[test]
fn who_gives_up_in_the_queue_is_told_what_it_waited_for() -> Result<()> {
    let scene = scene(&["write_timeout=1s"], |s| s.option("context=1500ms"))?;
    let (convoy, trace) = convoy(scene)?;
    for request in &convoy {
        explains_all_of_it(&trace, request, &["lineage", "queued"])?;
    }
    assert!(queued(&trace) >= CLIENTS - 1, "{}", trace.text);
    Ok(())
}
