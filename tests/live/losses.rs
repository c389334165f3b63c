//! Entries that never arrive, and the warning before anything hangs.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    Fault, Lab, Trace,
    scenario::{BIG_REQUEST, PORT},
    states, truth, wait,
};
use serde_json::Value;

use crate::{
    outage::{attach, lab},
    states::each,
};

/// An orphaned connection is tried again after back-off.
const DELIVERY: Duration = Duration::from_mins(1);

fn lost(trace: &Trace) -> Vec<&Value> {
    trace.of_type("lost_entries")
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// The kernel goes on delivering what Vault has closed, so nothing is lost when the network is back in time.
#[test]
fn what_arrives_after_all_is_not_called_lost() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &[])?;
    let fault = lab.drop_output()?;
    let requests = lab.fill()?;
    fault.lift()?;
    wait::until("the entries to arrive", DELIVERY, || {
        let received = lab.log.request_ids();
        // The last request's entry was given up in the middle, or never begun.
        let missing = requests[..requests.len() - 1].iter();
        let mut missing = missing.filter_map(|r| r.request_id.as_ref());
        Ok(missing.all(|id| received.contains(id)).then_some(()))
    })?;
    let trace = tracer.stop()?;
    let lost: Vec<_> = lost(&trace)
        .into_iter()
        .filter(|l| l["pending"] != true)
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    Ok(())
}

/// Everything that the socket took and the log server never got, to the entry.
#[test]
fn what_never_arrives_is_counted_to_the_entry() -> Result<()> {
    each(&states::LOST_ENTRIES, |trace, _, lab| {
        let record = *lost(trace).first().context("no record")?;
        assert_eq!(record["complete"], true, "{record}");
        assert!(record["pending"].is_null(), "{record}");
        let entries = number(&record["entries"]);
        let written = number(&trace.summary()?["audit_writes"]);
        assert_eq!(entries + arrived(lab), written, "{record}");
        assert!(number(&record["bytes"]) > 1000, "{record}");
        let ids = record["requests"].as_array().context("no ids")?;
        assert!(!ids.is_empty(), "{record}");
        let explanation = record["explanation"].to_string();
        assert!(!explanation.contains("missing"), "{record}");
        Ok(())
    })
}

/// Entries of the requests that were sent during the trace; those before it were about other paths.
fn arrived(lab: &Lab) -> u64 {
    let lines = lab.log.lines();
    let path = |line: &Vec<u8>| {
        serde_json::from_slice::<Value>(line)
            .ok()
            .map(|e| e["request"]["path"].clone())
    };
    let of_trace = lines
        .iter()
        .filter_map(path)
        .filter(|path| *path == "sys/mounts");
    of_trace.count() as u64
}

/// The first entry after the log server was stopped: its loss comes before the first failure, and is part of what follows.
#[test]
fn what_a_reset_lost_is_in_the_account_of_the_incident() -> Result<()> {
    each(&states::NO_LISTENER, |trace, _, _| {
        let record = *lost(trace).first().context("no record")?;
        let incident = *trace.of_type("incident").first().context("no incident")?;
        for name in ["entries", "bytes"] {
            let of_incident = &incident[format!("lost_{name}")];
            assert_eq!(of_incident, &record[name], "{incident}");
        }
        assert!(number(&record["entries"]) > 0, "{record}");
        Ok(())
    })
}

/// The log server has every entry; only its acknowledgements did not arrive.
#[test]
fn what_arrived_unacknowledged_is_not_said_to_be_missing() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &[])?;
    // Until the trace has ended: acknowledgements that arrive leave nothing lost.
    let _fault = Fault::drop_replies(PORT).apply(&lab.network.vault)?;
    lab.fill()?;
    let trace = tracer.stop()?;
    let record = *lost(&trace).first().context("no record")?;
    let explanation = record["explanation"].to_string();
    assert!(!explanation.contains("missing"), "{record}");
    assert!(explanation.contains("not acknowledged"), "{record}");
    Ok(())
}

#[test]
fn what_was_not_delivered_when_the_trace_ended_is_said_to_be_pending() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &[])?;
    let _fault = lab.drop_output()?;
    lab.fill()?;
    let trace = tracer.stop()?;
    let record = *lost(&trace).first().context("no record")?;
    assert_eq!(record["pending"], true, "{record}");
    assert!(number(&record["entries"]) > 0, "{record}");
    let explanation = record["explanation"].to_string();
    assert!(
        explanation.contains("when the trace ended. The server"),
        "{record}"
    );
    assert!(
        record["as_of"].as_str() > trace.hangs()[0]["end"].as_str(),
        "{record}"
    );
    Ok(())
}

/// An operator can act before the first request hangs.
#[test]
fn a_device_that_is_silently_dead_is_a_warning_before_it_is_full() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &[])?;
    lab.client.get(BIG_REQUEST)?;
    let _fault = Fault::drop_input(PORT).apply(&lab.network.logs[0].namespace)?;
    let record = wait::until("the warning", Duration::from_secs(20), || {
        let request = lab.client.get("/v1/auth/token/lookup-self")?;
        anyhow::ensure!(!request.hung(), "a request hung before the warning");
        // A server with little to do: load, not a wait for something.
        std::thread::sleep(Duration::from_millis(100));
        Ok(tracer
            .records()?
            .into_iter()
            .find(|r| r["type"] == "filling"))
    })?;
    let trace = tracer.stop()?;
    assert!(trace.hangs().is_empty(), "{}", trace.text);
    let (queued, limit) = (
        number(&record["send_queue_bytes"]),
        number(&record["send_buffer_bytes"]),
    );
    assert!(0 < queued && queued < limit, "{record}");
    assert!(number(&record["bytes_per_second"]) > 0, "{record}");
    assert!(number(&record["full_in_ns"]) > 0, "{record}");
    Ok(())
}

#[test]
fn a_healthy_device_is_neither_warned_of_nor_an_incident() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &[])?;
    let requests = lab::scenario::load(&lab.client, 2, 50)?;
    let trace = tracer.stop()?;
    for kind in ["filling", "lost_entries"] {
        assert!(trace.of_type(kind).is_empty(), "{kind}: {}", trace.text);
    }
    truth::nobody_was_blocked(&requests, &trace)
}
