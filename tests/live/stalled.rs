//! What is reported while a hang is still under way.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    Family, Lab, Trace, Tracer, client_times::stalls, scenario::BIG_REQUEST,
    server::bao_from_environment,
};
use serde_json::Value;

use crate::{
    assertions,
    outage::{attach, lab, lab_with},
};

/// Whether it was told while it lasted is seen by its client.
const LIMIT: Duration = Duration::from_secs(20);
/// Of a hang that lasts long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(1);
const CLIENTS: usize = 3;

#[test]
fn a_stall_is_reported_while_it_is_open() -> Result<()> {
    let lab = lab_with(Family::V4, TIMEOUT)?;
    let tracer = attach(&lab, &[])?;
    let told_before = cut_off(&lab, &tracer)?;
    let begun = Instant::now();
    let hanging = lab.client.get_in_background(BIG_REQUEST);
    let stalled = tracer.wait_for("the stall", LIMIT, |record| {
        record["type"] == "stalled" && record["hang"] != told_before.hang
    })?;
    let terminal = tracer.terminal();
    ensure!(!hanging.is_finished(), "too late: {:?}", begun.elapsed());
    // The terminal has a block for the outage, and does not repeat it for each stall.
    let address = lab.log_address().to_string();
    let mut lines = terminal.lines();
    assert!(
        lines.any(|line| line.contains("  BLOCKED  ") && line.contains(&address)),
        "nothing on the terminal: {terminal}"
    );
    assert_eq!(stalled["device"]["address"], address, "{stalled}");
    assert_eq!(stalled["device"]["transport"], "tcp", "{stalled}");
    assert_eq!(stalled["op"], "connect", "{stalled}");
    assert_eq!(stalled["cause"], "local_drop", "{stalled}");
    assert_eq!(stalled["waiting"], 0, "{stalled}");
    let request = hanging.join().expect("the client panicked")?;
    assert_eq!(
        stalled["request"]["client_port"], request.local_port,
        "{stalled}"
    );
    let trace = tracer.stop()?;
    let hang = hang_of(&trace, &stalled)?;
    assert_eq!(
        hang["request"]["id"].as_str(),
        request.request_id.as_deref()
    );
    // Usually the first: an agent that had no processor for long tells a later one.
    let dials = stalls(hang, &["connect"]);
    let is_told = dials.iter().any(|dial| dial["start"] == stalled["start"]);
    ensure!(is_told, "{stalled}: {hang}");
    Ok(())
}

#[test]
fn it_says_how_many_wait_behind_it() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &[])?;
    let _dead = cut_off(&lab, &tracer)?;
    let queue = lab.client.get_concurrently(CLIENTS, BIG_REQUEST)?;
    let trace = tracer.stop()?;
    let stalled = trace.of_type("stalled");
    let waiting = stalled
        .iter()
        .filter_map(|record| record["waiting"].as_u64());
    assert_eq!(waiting.max(), Some(CLIENTS as u64 - 1), "{}", trace.text);
    for request in queue {
        let of_it = |hang: &&Value| hang["request"]["client_port"] == request.local_port;
        let hang = *trace
            .hangs()
            .iter()
            .find(|hang| of_it(hang))
            .context("no hang")?;
        let told = stalled.iter().filter(|record| record["hang"] == hang["id"]);
        assert!(told.count() > 0, "never told while it lasted: {hang}");
    }
    Ok(())
}

#[test]
fn each_becomes_a_hang_and_no_two_hangs_have_one_id() -> Result<()> {
    let lab = Lab::builder(&bao_from_environment()?)
        .devices(lab::Devices::Tcp(2))
        .option("write_timeout", "200ms")
        .start()?;
    let tracer = attach(&lab, &[])?;
    let _dead = cut_off(&lab, &tracer)?;
    lab.client.get_concurrently(2, BIG_REQUEST)?;
    let trace = tracer.stop()?;
    for stalled in trace.of_type("stalled") {
        let hang = hang_of(&trace, stalled)?;
        assertions::is_same_device(&hang["device"], &stalled["device"]);
    }
    let ids: BTreeSet<_> = trace
        .hangs()
        .iter()
        .map(|hang| hang["id"].to_string())
        .collect();
    assert_eq!(ids.len(), trace.hangs().len(), "{}", trace.text);
    Ok(())
}

/// The twin: what is no hang is no stall either.
#[test]
fn below_the_threshold_nothing_is_reported() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &["--threshold", "30s"])?;
    let (fault, _) = lab.cut_off()?;
    lab.client.get(BIG_REQUEST)?;
    fault.lift()?;
    let trace = tracer.stop()?;
    assert!(trace.of_type("stalled").is_empty(), "{}", trace.text);
    assert!(trace.hangs().is_empty(), "{}", trace.text);
    Ok(())
}

/// What had been reported when a device had died and its first hang was over.
struct Before {
    hang: Value,
    _fault: lab::fault::Applied,
}

fn cut_off(lab: &Lab, tracer: &Tracer) -> Result<Before> {
    lab.client.get(BIG_REQUEST)?;
    let (fault, _) = lab.cut_off()?;
    let hang = tracer.wait_for("the first hang", LIMIT, |record| record["type"] == "hang")?;
    Ok(Before {
        hang: hang["id"].clone(),
        _fault: fault,
    })
}

fn hang_of<'a>(trace: &'a Trace, stalled: &Value) -> Result<&'a Value> {
    ensure!(!stalled["hang"].is_null(), "becomes no hang: {stalled}");
    let mut hangs = trace.hangs().into_iter();
    let hang = hangs.find(|hang| hang["id"] == stalled["hang"]);
    hang.with_context(|| format!("no hang has the id of {stalled}"))
}
