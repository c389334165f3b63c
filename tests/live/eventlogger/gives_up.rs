//! The request gives up waiting for its sinks, the sinks do not: what the device cost and what the
//! client saw are two things then.

use std::{thread, time::Duration};

use anyhow::Result;
use lab::{Family, Fault, Measured, Trace, scenario::BIG_REQUEST, scenario::PORT};
use serde_json::Value;

use super::{Scene, hang_of, is_of, scene, scene_with, stalls};
use crate::expect::{self, TOLERANCE, nanoseconds};

/// How long a request waits for the sinks of one entry: 5 s or 10 s in Vault.
const CONTEXT: Duration = Duration::from_millis(1200);

/// The one write among the stalls, which the request did not wait out.
fn write_of<'a>(trace: &'a Trace, request: &Measured) -> Result<(&'a Value, &'a Value)> {
    let hang = hang_of(trace, request)?;
    expect::is_about(hang, request, Family::V4);
    assert_eq!(hang["request"]["tie"], "lineage", "{hang}");
    let stalls = hang["stalls"].as_array().expect("stalls");
    let writes: Vec<_> = stalls.iter().filter(|s| s["op"] == "write").collect();
    assert_eq!(writes.len(), 1, "{hang}");
    Ok((hang, writes[0]))
}

/// By one entry or by both: the second waits for the lock that the first one's sink still holds.
fn gave_up(request: &Measured) {
    let one = request.duration.abs_diff(CONTEXT) < TOLERANCE;
    let both = request.duration.abs_diff(CONTEXT * 2) < TOLERANCE;
    assert!(one || both, "{:?}", request.duration);
}

#[test]
fn a_sink_that_times_out_after_its_request_is_told_with_both_times() -> Result<()> {
    let limit = Duration::from_millis(2500);
    let scene = scene(&["write_timeout=2500ms"], |s| s.option("context=1200ms"))?;
    scene.client.get(BIG_REQUEST)?;
    let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
    let full = scene.fill()?;
    scene.wait_for_disconnect()?;
    let next = scene.client.get(BIG_REQUEST)?;
    fault.lift()?;
    let trace = scene.end(&[&full, &next])?;
    gave_up(&full);
    let (hang, write) = write_of(&trace, &full)?;
    assert_eq!(write["outcome"], "timeout", "{hang}");
    let took = nanoseconds(&write["duration_ns"]);
    assert!(took.abs_diff(limit) < TOLERANCE, "{hang}");
    assert!(nanoseconds(&hang["duration_ns"]) >= took, "{hang}");
    // A dial ends with the request's context: the time is the same again, one dial an entry.
    let hang = hang_of(&trace, &next)?;
    is_of(hang, &next);
    let dials = ["connect request timeout", "connect response timeout"];
    assert_eq!(stalls(hang), dials, "{hang}");
    assert_eq!(trace.hangs().len(), 2, "{}", trace.text);
    Ok(())
}

#[test]
fn a_sink_that_succeeds_after_its_request_is_told_with_both_times() -> Result<()> {
    let longer = Duration::from_millis(700);
    let device = ["write_timeout=10s"];
    let context = |server: lab::eventlogger::Builder| server.option("context=1200ms");
    let scene = scene_with(&device, context, |log| log.receive_buffer(16 << 10))?;
    scene.client.get(BIG_REQUEST)?;
    scene.log.pause();
    let full = scene.fill()?;
    thread::sleep(longer); // the log server is what is slow here
    scene.log.resume();
    let after = after_all_is_well(&scene)?;
    let trace = scene.end(&[&full, &after])?;
    gave_up(&full);
    let (hang, write) = write_of(&trace, &full)?;
    assert_eq!(write["outcome"], "ok", "{hang}");
    assert_eq!(write["cause"], "zero_window", "{hang}");
    let took = nanoseconds(&write["duration_ns"]);
    let expected = full.duration + longer;
    assert!(
        took.abs_diff(expected) < TOLERANCE,
        "{took:?}, {expected:?}: {hang}"
    );
    assert_eq!(trace.hangs().len(), 1, "{}", trace.text);
    Ok(())
}

fn after_all_is_well(scene: &Scene) -> Result<Measured> {
    let after = scene.client.get(BIG_REQUEST)?;
    assert!(!after.hung(), "{:?}", after.duration);
    Ok(after)
}
