//! A device that dies, and life without hangs.

use anyhow::Result;
use lab::{Fault, scenario, scenario::PORT, truth};

use super::{assert_attributed_by_entry, assert_both_hangs, scene};

const DEVICE: [&str; 1] = ["write_timeout=500ms"];

#[test]
fn what_this_host_drops_is_attributed_to_the_request_above_the_sink() -> Result<()> {
    let lost = scene(&DEVICE, |server| server)?.lose_device(Fault::drop_output(PORT))?;
    assert_both_hangs(&lost, ["local_drop", "local_drop"]);
    let summary = lost.trace.summary()?;
    assert_eq!(summary["hangs"], 2, "{summary}");
    assert_eq!(summary["incidents"], 1, "{summary}");
    Ok(())
}

/// Nothing on this host drops a packet: acknowledgements do not come back.
#[test]
fn what_is_not_acknowledged_is_attributed_to_the_request_above_the_sink() -> Result<()> {
    let scene = scene(&DEVICE, |server| server)?;
    scene.client.get(scenario::BIG_REQUEST)?;
    let far_side = Fault::drop_input(PORT).apply(&scene.network.logs[0].namespace)?;
    let full = scene.fill()?;
    let next = scene.client.get(scenario::BIG_REQUEST)?;
    far_side.lift()?;
    let trace = scene.end(&[&full, &next])?;
    let lost = super::LostDevice { full, next, trace };
    assert_both_hangs(&lost, ["no_ack", "syn_unanswered"]);
    Ok(())
}

/// A filter before the formatter puts one goroutine more between request and sink, which has ended
/// when the sink begins: it need not be possible to find out whose child it was.
#[test]
fn a_device_with_a_filter_is_attributed_to_the_request_that_its_entry_names() -> Result<()> {
    let scene = scene(&["write_timeout=500ms", "filter"], |server| server)?;
    let lost = scene.lose_device(Fault::drop_output(PORT))?;
    assert_attributed_by_entry(&lost, &["payload", "lineage"])
}

#[test]
fn a_healthy_server_under_load_shows_no_hang_and_every_request() -> Result<()> {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 100;
    let scene = scene(&DEVICE, |server| server)?;
    let requests = scenario::load(&scene.client, CLIENTS, REQUESTS)?;
    let trace = scene.end(&[])?;
    truth::nobody_was_blocked(&requests, &trace)?;
    let summary = trace.summary()?;
    assert_eq!(summary["requests"], CLIENTS * REQUESTS, "{summary}");
    assert_eq!(summary["audit_writes"], 2 * CLIENTS * REQUESTS, "{summary}");
    Ok(())
}

#[test]
fn a_slow_plugin_is_no_hang() -> Result<()> {
    let scene = scene(&DEVICE, |server| server)?;
    let slow = scene.client.get("/v1/plugin/work?sleep=1200ms")?;
    assert!(slow.hung(), "{:?}", slow.duration);
    let trace = scene.end(&[&slow])?;
    assert!(trace.hangs().is_empty(), "{}", trace.text);
    assert_eq!(trace.summary()?["requests"], 1);
    Ok(())
}
