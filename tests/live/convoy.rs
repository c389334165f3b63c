//! Several clients at once over one dead device: each waits for its own stalls and for everybody's before it.

use anyhow::{Context, Result};
use lab::{Family, Measured, Trace, scenario::BIG_REQUEST};
use serde_json::Value;

use crate::{
    assertions::{self, nanoseconds},
    outage::{SHORT_TIMEOUT, attach, lab},
};

const CLIENTS: usize = 4;

#[test]
fn each_request_of_a_convoy_has_its_own_stalls() -> Result<()> {
    let lab = lab()?;
    let fault = lab.drop_output()?;
    let tracer = attach(&lab, &[])?;
    lab.fill()?;
    let convoy = lab.client.get_concurrently(CLIENTS, BIG_REQUEST)?;
    fault.lift()?;
    let trace = tracer.stop()?;
    assert_eq!(trace.hangs().len(), CLIENTS + 1, "{}", trace.text);
    for request in &convoy {
        let hang = hang_of(&trace, request.local_port)?;
        assertions::is_attributed_to(hang, request, Family::V4);
        only_its_own(hang);
        explains_all_of_it(hang, request);
    }
    let queued = convoy
        .iter()
        .filter_map(|r| hang_of(&trace, r.local_port).ok());
    let queued = queued.filter(|hang| hang["stalls"].to_string().contains("\"lock\""));
    assert!(
        queued.count() >= CLIENTS - 1,
        "all but the first queued: {}",
        trace.text
    );
    Ok(())
}

/// With the time it waited for the others, the hang is all that the client waited for. Each change of
/// places is seen up to half a second late.
fn explains_all_of_it(hang: &Value, request: &Measured) {
    let ours = nanoseconds(&hang["duration_ns"]);
    assert!(
        request.duration.abs_diff(ours) < SHORT_TIMEOUT,
        "{:?}: {hang}",
        request.duration
    );
    let stalls = hang["stalls"].as_array().expect("stalls");
    for lock in stalls.iter().filter(|stall| stall["op"] == "lock") {
        assert_eq!(lock["cause"], "local_drop", "the holder's: {hang}");
        assert_eq!(lock["outcome"], "ok", "{hang}");
    }
}

fn hang_of(trace: &Trace, port: u16) -> Result<&Value> {
    let hang = trace
        .hangs()
        .into_iter()
        .find(|hang| hang["request"]["client_port"] == port);
    hang.with_context(|| format!("no hang of the client at port {port}: {}", trace.text))
}

/// What it did to the device itself; waiting for the others may be reported beside it, as `lock`.
fn only_its_own(hang: &Value) {
    let stalls = hang["stalls"].as_array().expect("stalls");
    let own: Vec<_> = stalls
        .iter()
        .filter(|stall| stall["op"] != "lock")
        .collect();
    assert_eq!(own.len(), 4, "{hang}");
    let sum: std::time::Duration = own
        .iter()
        .map(|stall| nanoseconds(&stall["duration_ns"]))
        .sum();
    assert!(
        SHORT_TIMEOUT.abs_diff(sum / 4) < SHORT_TIMEOUT / 5,
        "{hang}"
    );
}
