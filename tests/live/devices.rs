//! Devices beside the one TCP socket: Unix and UDP sockets, two devices, no device that works.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    AuditDevice, Client, Endpoint, Family, Fault, LogServer, Network, Server, Tracer,
    log_server::Options,
    scenario::{BIG_REQUEST, PORT},
    server::bao_from_environment,
    tracer::agent_from_environment,
    wait,
};
use serde_json::Value;

use crate::{expect::nanoseconds, story::SHORT_TIMEOUT};

fn device(name: &str, at: &Endpoint) -> AuditDevice {
    let timeout = format!("{}ms", SHORT_TIMEOUT.as_millis());
    AuditDevice::socket(name, at).option("write_timeout", &timeout)
}

fn attach(server: &Server) -> Result<(Tracer, Client)> {
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &[])?;
    Ok((tracer, server.client(Family::V4)))
}

#[test]
fn a_unix_socket_whose_reader_stops_is_peer_full() -> Result<()> {
    let network = Network::create(1)?;
    let directory = tempfile::tempdir()?;
    let at = Endpoint::Unix(directory.path().join("log.sock"));
    let log = Options::new(at.clone()).start(&network.vault)?;
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(device("unix", &at))
        .start(&network.vault)?;
    let (tracer, client) = attach(&server)?;
    client.get(BIG_REQUEST)?;
    log.pause();
    let mut stuck = None;
    for _ in 0..200 {
        let request = client.get(BIG_REQUEST)?;
        if request.duration >= SHORT_TIMEOUT {
            stuck = Some(request);
            break;
        }
    }
    let stuck = stuck.context("no request hung")?;
    let trace = tracer.stop()?;
    let hang = *trace.hangs().first().context("no hang")?;
    assert_eq!(hang["cause"], "peer_full", "{hang}");
    assert_eq!(hang["device"]["transport"], "unix", "{hang}");
    assert_eq!(hang["device"]["address"], at.to_string(), "{hang}");
    assert_eq!(hang["request"]["client_port"], stuck.local_port, "{hang}");
    let ours = nanoseconds(&hang["duration_ns"]);
    assert!(ours >= SHORT_TIMEOUT && ours <= stuck.duration, "{hang}");
    Ok(())
}

#[test]
fn a_dead_udp_port_is_refused_and_never_hangs() -> Result<()> {
    let network = Network::create(1)?;
    let at = Endpoint::Udp(network.logs[0].port(Family::V4, PORT));
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(device("udp", &at))
        .start(&network.vault)?;
    let (tracer, client) = attach(&server)?;
    for _ in 0..4 {
        client.get(BIG_REQUEST)?;
    }
    let trace = tracer.stop()?;
    assert!(trace.hangs().is_empty(), "{}", trace.text);
    let refusal = *trace.of_type("refusal").first().context("no refusal")?;
    assert_eq!(refusal["device"]["transport"], "udp", "{refusal}");
    assert_eq!(refusal["cause"], "refused", "{refusal}");
    assert!(
        !refusal["explanation"].to_string().contains("RST"),
        "{refusal}"
    );
    Ok(())
}

#[test]
fn two_dead_devices_hold_up_one_request_twice() -> Result<()> {
    let network = Network::create(2)?;
    let at = |index: usize| Endpoint::Tcp(network.logs[index].port(Family::V4, PORT));
    let start = |index: usize| LogServer::start(&network.logs[index].namespace, at(index));
    let _logs = (start(0)?, start(1)?);
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(device("a", &at(0)))
        .audit(device("b", &at(1)))
        .start(&network.vault)?;
    let (tracer, client) = attach(&server)?;
    client.get(BIG_REQUEST)?;
    let _drop = Fault::drop_output(PORT).apply(&network.vault)?;
    lab::scenario::fill(&client)?;
    // The two buffers need not be full at the same request.
    let mut last = client.get(BIG_REQUEST)?;
    for _ in 0..60 {
        if last.duration >= SHORT_TIMEOUT * 8 {
            break;
        }
        last = client.get(BIG_REQUEST)?;
    }
    assert!(last.duration >= SHORT_TIMEOUT * 8, "{:?}", last.duration);
    let trace = tracer.stop()?;
    let of_last = |hang: &&Value| hang["request"]["client_port"] == last.local_port;
    let hangs: Vec<_> = trace.hangs().into_iter().filter(of_last).collect();
    let mut devices: Vec<_> = hangs
        .iter()
        .map(|h| h["device"]["address"].to_string())
        .collect();
    devices.sort();
    assert_eq!(
        devices,
        ["\"10.77.0.2:1515\"", "\"10.77.1.2:1515\""],
        "{}",
        trace.text
    );
    for hang in hangs {
        let ours = nanoseconds(&hang["duration_ns"]);
        assert!(
            ours >= SHORT_TIMEOUT * 4 && ours < SHORT_TIMEOUT * 6,
            "{hang}"
        );
        assert_eq!(
            hang["request"]["id"].as_str(),
            last.request_id.as_deref(),
            "{hang}"
        );
    }
    Ok(())
}

#[test]
fn without_a_working_device_the_request_fails_and_the_report_says_so() -> Result<()> {
    let network = Network::create(1)?;
    let at = Endpoint::Tcp(network.logs[0].port(Family::V4, PORT));
    let _log = LogServer::start(&network.logs[0].namespace, at.clone())?;
    let server = Server::builder(&bao_from_environment()?)
        .audit(device("only", &at))
        .start(&network.vault)?;
    let (tracer, client) = attach(&server)?;
    client.get(BIG_REQUEST)?;
    let _drop = Fault::drop_output(PORT).apply(&network.vault)?;
    lab::scenario::fill(&client)?;
    let failed = client.get(BIG_REQUEST)?;
    assert_eq!(failed.status, 500);
    let trace = tracer.stop()?;
    let hang = *trace.hangs().last().context("no hang")?;
    assert_eq!(hang["request"]["status"], 500, "{hang}");
    assert!(
        hang["explanation"].to_string().contains("HTTP 500"),
        "{hang}"
    );
    assert!(hang["request"]["id"].is_null(), "nothing says it: {hang}");
    Ok(())
}

/// No connection attempt shows it: the wait is seen from the goroutine.
#[test]
fn a_name_that_does_not_resolve_is_the_resolvers_fault() -> Result<()> {
    let network = Network::create(1)?;
    let host = &network.logs[0];
    let log = LogServer::start(&host.namespace, Endpoint::Tcp(host.port(Family::V4, PORT)))?;
    let known = format!(
        "127.0.0.1 localhost\n{} log.lab\n",
        host.address(Family::V4)
    );
    let by_name = Endpoint::TcpName(format!("log.lab:{PORT}"));
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(AuditDevice::socket("named", &by_name).option("write_timeout", "1s"))
        .resolver(host.absent_address(Family::V4), &known)
        .start(&network.vault)?;
    let (tracer, client) = attach(&server)?;
    client.get(BIG_REQUEST)?;
    std::fs::write(server.hosts_file(), "127.0.0.1 localhost\n")?;
    // Go looks at the file again when it is 5 s older: until then, dials go on working.
    let waited = wait::until("a request to hang", Duration::from_mins(1), || {
        log.reset_connections();
        let request = client.get(BIG_REQUEST)?;
        Ok((request.duration > Duration::from_millis(1500)).then_some(request))
    })?;
    let trace = tracer.stop()?;
    let hang = *trace.hangs().last().context("no hang")?;
    assert_eq!(hang["cause"], "resolver", "{hang}");
    assert_eq!(hang["request"]["client_port"], waited.local_port, "{hang}");
    let ours = nanoseconds(&hang["duration_ns"]);
    assert!(
        ours <= waited.duration && waited.duration.abs_diff(ours) < SHORT_TIMEOUT,
        "{hang}"
    );
    let stalls = hang["stalls"].as_array().context("no stalls")?;
    let connects = stalls.iter().filter(|stall| stall["op"] == "connect");
    for connect in connects {
        assert_eq!(connect["cause"], "resolver", "no connect was sent: {hang}");
    }
    Ok(())
}
