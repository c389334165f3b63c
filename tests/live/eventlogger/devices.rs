//! Devices beside the one TCP socket: their sinks are siblings, and work at the same time.

use anyhow::{Context, Result};
use lab::{
    Endpoint, Eventlogger, Family, Fault, LogServer, Network, log_server::Options,
    scenario::BIG_REQUEST, scenario::PORT, scenario::fill, sockets, wait,
};
use procfs::net::TcpState;

use super::{LIMIT, NO_CONNECTION, TIMEOUT, attach, end, hang_of, hangs_of, is_of, stalls, usual};
use crate::expect::nanoseconds;

/// Not one after the other, as in OpenBao: the request waits for the slower one only.
#[test]
fn two_dead_devices_hold_up_one_request_once() -> Result<()> {
    let network = Network::create(2)?;
    let at = |index: usize| network.logs[index].port(Family::V4, PORT);
    let start =
        |index: usize| LogServer::start(&network.logs[index].namespace, Endpoint::Tcp(at(index)));
    let _logs = (start(0)?, start(1)?);
    let device = ["write_timeout=500ms"];
    let server = usual()
        .audit_to(&Endpoint::Tcp(at(0)), &device)
        .audit_to(&Endpoint::Tcp(at(1)), &device)
        .start(&network.vault)?;
    let (tracer, client) = (attach(&server)?, server.client());
    client.get(BIG_REQUEST)?;
    let _drop = Fault::drop_output(PORT).apply(&network.vault)?;
    fill(&client)?;
    // The two buffers need not be full at the same request.
    wait::until("both sinks to disconnect", LIMIT, || {
        client.get(BIG_REQUEST)?;
        Ok((!connected(&server, at(0))? && !connected(&server, at(1))?).then_some(()))
    })?;
    let last = client.get(BIG_REQUEST)?;
    let trace = end(tracer, &[&last])?;
    let hangs = hangs_of(&trace, &last);
    let address = |hang: &&serde_json::Value| hang["device"]["address"].as_str().map(str::to_owned);
    let mut devices: Vec<_> = hangs.iter().filter_map(address).collect();
    devices.sort();
    assert_eq!(
        devices,
        ["10.77.0.2:1515", "10.77.1.2:1515"],
        "{}",
        trace.text
    );
    for hang in hangs {
        is_of(hang, &last);
        assert_eq!(stalls(hang), NO_CONNECTION, "{hang}");
    }
    Ok(())
}

fn connected(server: &Eventlogger, remote: std::net::SocketAddr) -> Result<bool> {
    let sockets = sockets::tcp_to(server.pid(), remote)?;
    Ok(sockets.iter().any(|s| s.state == TcpState::Established))
}

/// A Unix socket tells nobody that it closes, and the goroutine that gave up is never seen again.
#[test]
fn a_unix_socket_whose_reader_stops_is_peer_full() -> Result<()> {
    let network = Network::create(1)?;
    let directory = tempfile::tempdir()?;
    let at = Endpoint::Unix(directory.path().join("log.sock"));
    let log = Options::new(at.clone()).start(&network.vault)?;
    let server = usual()
        .audit_to(&at, &["write_timeout=500ms"])
        .start(&network.vault)?;
    let (tracer, client) = (attach(&server)?, server.client());
    client.get(BIG_REQUEST)?;
    log.pause();
    let mut requests = Vec::new();
    while requests.len() < 200 {
        requests.push(client.get(BIG_REQUEST)?);
        if requests.last().is_some_and(|r| r.duration >= TIMEOUT) {
            break;
        }
    }
    let stuck = requests.last().context("no request")?;
    assert!(stuck.duration >= TIMEOUT, "no request hung");
    let trace = end(tracer, &[stuck])?;
    let hang = hang_of(&trace, stuck)?;
    assert_eq!(hang["cause"], "peer_full", "{hang}");
    assert_eq!(hang["device"]["address"], at.to_string(), "{hang}");
    assert_eq!(
        hang["request"]["id"].as_str(),
        stuck.request_id.as_deref(),
        "{hang}"
    );
    let ours = nanoseconds(&hang["duration_ns"]);
    assert!(ours >= TIMEOUT && ours <= stuck.duration, "{hang}");
    Ok(())
}
