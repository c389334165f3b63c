//! What a hang record must say.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use lab::{
    Family, Measured, Trace,
    client_times::{ClientRequest, ClientTimes},
    guest,
};
use serde_json::Value;

use crate::outage::LabFacts;

/// The agent is to be right within 50 ms; a machine that is busy with other things makes the client, too, late, and one that is
/// emulated takes a part of a second for what the server works between two waits.
pub(crate) fn tolerance() -> Duration {
    let is_emulated = Path::new(guest::PLAN).exists();
    Duration::from_millis(if is_emulated { 600 } else { 150 })
}

/// How late a busy machine may make what can only be late: who waits, between two waits and after them. Less than two time-outs of
/// most tests, so that a wait that is missing shows; the waits themselves are counted.
pub(crate) fn late() -> Duration {
    Duration::from_millis(900).max(tolerance())
}

pub(crate) fn nanoseconds(value: &Value) -> Duration {
    Duration::from_nanos(
        value
            .as_u64()
            .unwrap_or_else(|| panic!("no duration: {value}")),
    )
}

/// The trace tells these requests, all there were while it ran, what each lost to these devices, and nobody else.
pub(crate) fn matches_clients(
    trace: &Trace,
    all: &[ClientRequest],
    devices: &[String],
) -> Result<()> {
    let times = ClientTimes {
        requests: all.to_vec(),
        devices: devices.to_vec(),
        side_by_side: lab::server::usual_tie()? == "lineage",
    };
    let settled = times.matches(&trace.hangs());
    settled.with_context(|| format!("{}{}", trace.text, trace.stderr))
}

/// The record is about this request of a client, and as long as the client says.
pub(crate) fn is_of(hang: &Value, request: &Measured, lab: &LabFacts) {
    is_attributed_to(hang, request, lab.family);
    assert_eq!(hang["device"]["transport"], "tcp", "{hang}");
    assert_eq!(hang["device"]["address"], lab.address.as_str(), "{hang}");
    assert_eq!(hang["cause"], "local_drop", "{hang}");
    let ours = nanoseconds(&hang["duration_ns"]);
    eprintln!(
        "client {:.3} s, request {:+.1} ms, hang {:+.1} ms",
        request.duration.as_secs_f64(),
        difference(nanoseconds(&hang["request"]["duration_ns"]), request),
        difference(ours, request),
    );
    let work = lab.healthy * 2;
    assert!(ours <= request.duration + tolerance(), "{hang}");
    assert!(request.duration <= ours + late() + work, "{hang}");
}

/// The record is about this request of a client, with everything that the client and the audit entry know,
/// and no longer than the request.
pub(crate) fn is_attributed_to(hang: &Value, request: &Measured, family: Family) {
    let tie = lab::server::usual_tie().expect("a server");
    assert_eq!(hang["request"]["tie"], tie, "{hang}");
    is_about(hang, request, family);
    let ours = nanoseconds(&hang["request"]["duration_ns"]);
    assert!(nanoseconds(&hang["duration_ns"]) <= ours, "{hang}");
}

/// The record is about this request of a client, which it says was as long as the client says.
pub(crate) fn is_about(hang: &Value, request: &Measured, family: Family) {
    let said = &hang["request"];
    assert_eq!(said["client_port"], request.local_port, "{hang}");
    assert_eq!(
        said["client_address"],
        family.loopback().to_string(),
        "{hang}"
    );
    assert_eq!(said["id"].as_str(), request.request_id.as_deref(), "{hang}");
    assert_eq!(said["path"], request.audit_path(), "{hang}");
    assert_eq!(said["operation"], "read", "{hang}");
    assert_eq!(said["http_version"], "1.1", "{hang}");
    let ours = nanoseconds(&said["duration_ns"]);
    assert!(
        ours < request.duration + tolerance() && request.duration < ours + late(),
        "{:?}: {hang}",
        request.duration
    );
}

/// The stalls as `op phase`; each ended by the device's own time-out.
pub(crate) fn time_outs(hang: &Value, timeout: Duration) -> Vec<String> {
    let stalls = hang["stalls"].as_array().expect("stalls");
    let name = |stall: &Value| {
        assert_eq!(stall["outcome"], "timeout", "{stall}");
        assert_eq!(stall["cause"], "local_drop", "{stall}");
        let took = nanoseconds(&stall["duration_ns"]);
        assert!(took + tolerance() > timeout, "{stall}");
        assert!(took < timeout + late(), "{stall}");
        format!("{} {}", stall["op"], stall["phase"]).replace('"', "")
    };
    stalls.iter().map(name).collect()
}

/// What the agent saw on top of what the client saw, ms.
fn difference(agent: Duration, client: &Measured) -> f64 {
    (agent.as_secs_f64() - client.duration.as_secs_f64()) * 1e3
}

/// The same device, of which the earlier record may lack the path: that is known once the server's memory was read.
pub(crate) fn is_same_device(later: &Value, earlier: &Value) {
    let mut expected = earlier.clone();
    if let (None, Some(path)) = (earlier.get("path"), later.get("path")) {
        expected["path"] = path.clone();
    }
    assert_eq!(*later, expected);
}
