//! Devices beside the one TCP socket: Unix and UDP sockets, two devices, no device that works; a Unix socket is of no family.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    State, Trace,
    client_times::stalls,
    server::bao_from_environment,
    states::{self, SHORT_TIMEOUT},
    truth,
};
use serde_json::{Value, json};

use crate::{
    assertions::{nanoseconds, tolerance},
    outage::attach,
    states::{each, in_its_family, knows_its_request},
};

#[test]
fn a_unix_socket_whose_reader_stops_is_peer_full() -> Result<()> {
    in_its_family(&states::UNIX_PEER_FULL, |trace, requests, lab| {
        let stuck = requests.last().context("no request")?;
        let hang = *trace.hangs().first().context("no hang")?;
        assert_eq!(hang["cause"], "peer_full", "{hang}");
        assert_eq!(hang["device"]["transport"], "unix", "{hang}");
        assert_eq!(
            hang["device"]["address"],
            lab.endpoint.to_string(),
            "{hang}"
        );
        assert_eq!(hang["request"]["client_port"], stuck.local_port, "{hang}");
        let ours = nanoseconds(&hang["duration_ns"]);
        let timeout = states::UNIX_PEER_FULL.write_timeout;
        assert!(ours >= timeout && ours <= stuck.duration, "{hang}");
        says_nothing_of_losses(trace)
    })
}

#[test]
fn a_dead_udp_port_is_refused_and_never_hangs() -> Result<()> {
    each(&states::UDP_DEAD_PORT, |trace, _, _| {
        let refusal = only_refused_over_udp(trace)?;
        assert_eq!(refusal["cause"], "refused", "{refusal}");
        let explanation = refusal["explanation"].to_string();
        assert!(!explanation.contains("RST"), "{refusal}");
        assert_eq!(trace.of_type("incident").len(), 1, "one bad time");
        says_nothing_of_losses(trace)
    })
}

#[test]
fn an_entry_too_large_for_a_datagram_is_reported() -> Result<()> {
    each(&states::UDP_TOO_LARGE, |trace, requests, _| {
        let large = requests.first().context("no request")?;
        let refusal = only_refused_over_udp(trace)?;
        assert_eq!(refusal["errno"], "EMSGSIZE", "{refusal}");
        let port = refusal["request"]["client_port"].as_u64();
        assert!(port.is_none_or(|port| port == u64::from(large.local_port)));
        assert!(knows_its_request(refusal), "{refusal}");
        let explanation = refusal["explanation"].to_string();
        assert!(
            explanation.contains("too large for a datagram"),
            "{refusal}"
        );
        Ok(())
    })
}

fn only_refused_over_udp(trace: &Trace) -> Result<&Value> {
    assert!(trace.hangs().is_empty(), "a hang");
    let refusal = *trace.of_type("refusal").first().context("no refusal")?;
    assert_eq!(refusal["device"]["transport"], "udp", "{refusal}");
    Ok(refusal)
}

/// Nobody knows what such a socket lost.
fn says_nothing_of_losses(trace: &Trace) -> Result<()> {
    let incident = *trace.of_type("incident").first().context("no incident")?;
    for name in ["lost_bytes", "lost_entries"] {
        assert!(incident.get(name).is_none(), "{incident}");
    }
    Ok(())
}

#[test]
fn two_dead_devices_block_one_request_twice() -> Result<()> {
    in_its_family(&states::TWO_DEVICES, |trace, requests, lab| {
        let last = requests.last().context("no request")?;
        let of_last = |hang: &&Value| hang["request"]["client_port"] == last.local_port;
        let hangs: Vec<_> = trace.hangs().into_iter().filter(of_last).collect();
        let devices = hangs.iter().map(|h| h["device"]["address"].as_str());
        let mut devices: Vec<_> = devices.flatten().map(ToOwned::to_owned).collect();
        devices.sort();
        let hosts = lab.network.logs.iter();
        let ports = hosts.map(|host| host.port(lab.family, lab::scenario::PORT).to_string());
        let mut ports: Vec<_> = ports.collect();
        ports.sort();
        assert_eq!(devices, ports);
        for hang in hangs {
            let ours = nanoseconds(&hang["duration_ns"]);
            // A time-out begins a little before its dial is seen.
            let expected = SHORT_TIMEOUT * 39 / 10..SHORT_TIMEOUT * 6;
            assert!(expected.contains(&ours), "{hang}");
            let id = hang["request"]["id"].as_str();
            assert_eq!(id, last.request_id.as_deref(), "{hang}");
        }
        Ok(())
    })
}

#[test]
fn without_a_working_device_the_request_fails_and_the_report_says_so() -> Result<()> {
    in_its_family(&states::NO_WORKING_DEVICE, |trace, requests, _| {
        let failed = requests.last().context("no request")?;
        assert_eq!(failed.status, 500);
        let hang = *trace.hangs().last().context("no hang")?;
        assert_eq!(hang["request"]["status"], 500, "{hang}");
        let explanation = hang["explanation"].to_string();
        assert!(explanation.contains("HTTP 500"), "{hang}");
        // No device has it, nor does the answer: the server's own memory says it.
        let id = hang["request"]["id"].as_str().context("no id")?;
        assert_eq!(id.len(), 36, "{hang}");
        assert_eq!(hang["request"]["path"], "sys/mounts", "{hang}");
        Ok(())
    })
}

/// No connection attempt shows it: the wait is seen from the goroutine.
#[test]
fn a_name_that_does_not_resolve_is_the_resolvers_fault() -> Result<()> {
    in_its_family(&states::NAME_THAT_DOES_NOT_RESOLVE, |trace, requests, _| {
        let waited = requests.last().context("no request")?;
        let hang = *trace.hangs().last().context("no hang")?;
        assert_eq!(hang["cause"], "resolver", "{hang}");
        assert_eq!(hang["request"]["client_port"], waited.local_port, "{hang}");
        let ours = nanoseconds(&hang["duration_ns"]);
        // It is known by samples, and these leave more open where the agent itself had to wait.
        let open = truth::uncertainty(&[hang]) + waited.starved;
        let near = waited.duration < ours + SHORT_TIMEOUT + open;
        assert!(ours <= waited.duration && near, "{hang}");
        let stalls = hang["stalls"].as_array().context("no stalls")?;
        let connects = stalls.iter().filter(|stall| stall["op"] == "connect");
        for connect in connects {
            assert_eq!(connect["cause"], "resolver", "no connect was sent: {hang}");
        }
        Ok(())
    })
}

/// Slow enough that a secret takes longer than the agent's threshold. The server's start, of 150 accesses, takes 6 s.
const SLOW_STORAGE: State = State {
    storage_latency: Duration::from_millis(40),
    ..states::SLOW_STORAGE
};

/// The same delay for another reason.
fn is_blamed_on_no_device(state: &State) -> Result<()> {
    in_its_family(state, |trace, _, _| {
        for kind in ["hang", "refusal", "incident", "filling", "lost_entries"] {
            assert!(trace.of_type(kind).is_empty(), "{kind}");
        }
        Ok(())
    })
}

#[test]
fn a_slow_storage_is_blamed_on_no_device() -> Result<()> {
    is_blamed_on_no_device(&SLOW_STORAGE)
}

/// A storage that takes its time while the device takes nothing: only the time of the device is blocked.
#[test]
fn a_slow_storage_during_an_outage_is_not_part_of_the_hang() -> Result<()> {
    let lab = SLOW_STORAGE.lab(&bao_from_environment()?)?;
    let tracer = attach(&lab, &[])?;
    let write = || {
        let data = json!({ "data": { "value": "small" } });
        lab.client.put("/v1/secret/data/small", &data)
    };
    write()?;
    let (fault, first) = lab.cut_off()?;
    let blocked = write()?;
    fault.lift()?;
    let trace = tracer.stop()?;
    let client = truth::Client::from(&blocked);
    let own = client.hangs(&trace.hangs());
    ensure!(own.len() == 1, "{}", trace.text);
    // Two dials an entry: they may be late, but are no part of what the storage takes.
    ensure!(stalls(own[0], &["connect"]).len() == 4, "{}", own[0]);
    let told = truth::blocked(&own);
    ensure!(
        told + tolerance() > SHORT_TIMEOUT * 4,
        "{told:?}: {}",
        own[0]
    );
    client.is_not_exceeded_by(&own)?;
    let storage = SLOW_STORAGE.storage_latency * 2;
    ensure!(
        told + storage < blocked.duration,
        "{told:?} of {:?}, of which the storage takes {storage:?} at least: {}",
        blocked.duration,
        own[0]
    );
    truth::all_are_known(&[(&first).into(), client], &trace.hangs())
}

#[test]
fn a_slow_plugin_is_blamed_on_no_device() -> Result<()> {
    const NO_PLUGIN: &str = "plugin not found in the catalog";
    match is_blamed_on_no_device(&states::SLOW_PLUGIN) {
        Err(error) if format!("{error:#}").contains(NO_PLUGIN) => {
            let test = "devices::a_slow_plugin_is_blamed_on_no_device";
            // Not by `eprintln!`, which a test that passes keeps to itself.
            writeln!(io::stderr(), "\nNOT RUN: {test}: {NO_PLUGIN}\n")?;
            Ok(())
        }
        result => result,
    }
}

#[test]
fn slow_clients_are_blamed_on_no_device() -> Result<()> {
    is_blamed_on_no_device(&states::SLOW_CLIENT_READING)?;
    is_blamed_on_no_device(&states::SLOW_CLIENT_SENDING)
}
