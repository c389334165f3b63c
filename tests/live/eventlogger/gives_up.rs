//! A request gives up waiting for its sinks, the sinks do not: the hang ends with the answer, and what a sink does after
//! that is its device's incident.

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use lab::{
    Family, Fault, Measured, Trace,
    scenario::{BIG_REQUEST, PORT},
    truth::{self, SEEN},
};
use serde_json::Value;

use super::{Scene, hang_of, is_of, scene, scene_with, stalls};
use crate::assertions::{self, late, nanoseconds};

/// How long a request waits for the sinks of one entry: 5 s or 10 s in Vault.
const CONTEXT: Duration = Duration::from_millis(1200);

/// The hang of this request, which was answered while the sink was writing, and that one write.
fn cut_write<'a>(
    trace: &'a Trace,
    request: &Measured,
    healthy: Duration,
) -> Result<(&'a Value, &'a Value)> {
    let hang = hang_of(trace, request)?;
    assertions::is_about(hang, request, Family::V4);
    assert_eq!(hang["request"]["tie"], "lineage", "{hang}");
    truth::Client::from(request).agrees_with(&[hang], SEEN + healthy)?;
    let stalls = hang["stalls"].as_array().expect("stalls");
    let writes: Vec<_> = stalls.iter().filter(|s| s["op"] == "write").collect();
    assert_eq!(writes.len(), 1, "{hang}");
    let cut = writes[0];
    assert_eq!(cut["outcome"], Value::Null, "it went on: {hang}");
    Ok((hang, cut))
}

/// By one entry or by both: the second waits for the lock that the first one's sink still holds.
fn gave_up(request: &Measured) {
    let is = |expected: Duration| (expected..expected + late()).contains(&request.duration);
    assert!(is(CONTEXT) || is(CONTEXT * 2), "{:?}", request.duration);
}

fn incident_lasted(trace: &Trace) -> Result<Duration> {
    let incident = *trace.of_type("incident").first().context("no incident")?;
    let at = |name: &str| -> Result<Timestamp> {
        let text = incident[name].as_str();
        Ok(text
            .with_context(|| format!("no {name}: {incident}"))?
            .parse()?)
    };
    let lasted = at("end")?.duration_since(at("start")?);
    Ok(lasted.unsigned_abs())
}

#[test]
fn a_write_that_times_out_after_the_answer_is_cut_at_the_answer() -> Result<()> {
    let limit = Duration::from_millis(2500);
    let scene = scene(&["write_timeout=2500ms"], |s| {
        s.option("context=1200ms-detached")
    })?;
    let healthy = scene.client.get(BIG_REQUEST)?.duration;
    let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
    let full = scene.fill()?;
    scene.wait_for_disconnect()?;
    let next = scene.client.get(BIG_REQUEST)?;
    fault.lift()?;
    let after = after_all_is_well(&scene)?;
    let trace = scene.end(&[&full, &next, &after])?;
    gave_up(&full);
    cut_write(&trace, &full, healthy)?;
    assert!(incident_lasted(&trace)? > limit, "{}", trace.text);
    // A dial ends with the request's context: one dial an entry.
    let hang = hang_of(&trace, &next)?;
    is_of(hang, &next);
    // So does the wait for it: a dial that ends just after the answer has no outcome.
    let dials = stalls(hang).into_iter();
    let dials: Vec<_> = dials.map(|dial| dial.replace(" -", " timeout")).collect();
    let expected = ["connect request timeout", "connect response timeout"];
    assert_eq!(dials, expected, "{hang}");
    assert_eq!(trace.hangs().len(), 2, "{}", trace.text);
    Ok(())
}

/// Vault 1.15.3 to 1.16.2 with `write_timeout = "8s"`: only the response's entry has an end of its own.
#[test]
fn a_response_entry_that_outlives_its_own_time_is_cut_at_the_answer() -> Result<()> {
    let options = ["generation=1.15.3", "context=response-1200ms"];
    let with = |server: lab::eventlogger::Builder| options.iter().fold(server, |s, o| s.option(o));
    let scene = scene(&["write_timeout=2s"], with)?;
    let healthy = scene.client.get(BIG_REQUEST)?.duration;
    let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
    let full = scene.fill()?;
    scene.wait_for_disconnect()?;
    fault.lift()?;
    let trace = scene.end(&[&full])?;
    let hang = hang_of(&trace, &full)?;
    truth::Client::from(&full).agrees_with(&[hang], SEEN + healthy)?;
    assert_eq!(trace.hangs().len(), 1, "{}", trace.text);
    Ok(())
}

#[test]
fn a_write_that_succeeds_after_the_answer_is_cut_at_the_answer() -> Result<()> {
    let longer = Duration::from_millis(700);
    let device = ["write_timeout=10s"];
    let context = |server: lab::eventlogger::Builder| server.option("context=1200ms-detached");
    let scene = scene_with(&device, context, |log| log.receive_buffer(16 << 10))?;
    let healthy = scene.client.get(BIG_REQUEST)?.duration;
    scene.log.pause();
    let full = scene.fill()?;
    thread::sleep(longer); // the log server is what is slow here
    scene.log.resume();
    let after = after_all_is_well(&scene)?;
    let trace = scene.end(&[&full, &after])?;
    gave_up(&full);
    let (hang, write) = cut_write(&trace, &full, healthy)?;
    assert_eq!(write["cause"], "zero_window", "{hang}");
    assert!(
        nanoseconds(&write["duration_ns"]) <= full.duration,
        "{hang}"
    );
    // It was going on when the answer was sent, and for so long after it.
    let lasted = incident_lasted(&trace)?;
    assert!(
        lasted >= nanoseconds(&write["duration_ns"]) + longer,
        "the sink went on: {}",
        trace.text
    );
    assert_eq!(trace.hangs().len(), 1, "{}", trace.text);
    Ok(())
}

/// The negative twin: the write ends before the context does, and has its outcome.
#[test]
fn a_write_that_ends_before_the_context_has_its_outcome() -> Result<()> {
    let scene = scene_with(
        &["write_timeout=10s"],
        |server| server.option("context=10s-detached"),
        |log| log.receive_buffer(16 << 10),
    )?;
    let healthy = scene.client.get(BIG_REQUEST)?.duration;
    scene.log.pause();
    let client = scene.client.clone();
    let filling = thread::spawn(move || lab::scenario::fill(&client));
    let is_stalled = |record: &Value| record["type"] == "stalled";
    let limit = Duration::from_secs(20);
    scene.tracer.wait_for("a stall", limit, is_stalled)?;
    thread::sleep(CONTEXT); // the log server is what is slow here
    scene.log.resume();
    let filled = filling.join().expect("the client panicked")?;
    let full = filled.last().context("no request")?;
    let trace = scene.end(&[full])?;
    let hang = hang_of(&trace, full)?;
    truth::Client::from(full).agrees_with(&[hang], SEEN + healthy)?;
    for stall in hang["stalls"].as_array().expect("stalls") {
        assert_eq!(stall["outcome"], "ok", "{hang}");
    }
    Ok(())
}

fn after_all_is_well(scene: &Scene) -> Result<Measured> {
    let after = scene.client.get(BIG_REQUEST)?;
    assert!(!after.hung(), "{:?}", after.duration);
    Ok(after)
}
