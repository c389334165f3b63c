//! Devices beside the one TCP socket: their sinks are siblings, and work at the same time.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    Client, Endpoint, Eventlogger, Family, Fault, LogServer, Network, Tracer,
    client_times::duration,
    log_server::Options,
    scenario::{BIG_REQUEST, PORT, fill},
    sockets,
    truth::{self, SEEN},
    wait,
};
use tracer_proc::TcpState;

use super::{LIMIT, NO_CONNECTION, attach, end, hang_of, hangs_of, is_of, stalls, usual};
use crate::assertions::{late, nanoseconds, tolerance};

/// Not one after the other, as in OpenBao: the request waits for the slower one only.
#[test]
fn two_dead_devices_block_one_request_once() -> Result<()> {
    let two = two_devices(["write_timeout=500ms"; 2])?;
    let (server, client) = (&two.server, &two.client);
    client.get(BIG_REQUEST)?;
    let _drop = Fault::drop_output(PORT).apply(&two.network.vault)?;
    fill(client)?;
    // The two buffers need not be full at the same request.
    wait::until("both sinks to disconnect", LIMIT, || {
        client.get(BIG_REQUEST)?;
        let connected = [0, 1].map(|index| connected(server, address(&two.network, index)));
        let [first, second] = connected;
        Ok((!first? && !second?).then_some(()))
    })?;
    let last = client.get(BIG_REQUEST)?;
    let trace = end(two.tracer, &[&last])?;
    let hangs = hangs_of(&trace, &last);
    let device = |hang: &&serde_json::Value| hang["device"]["address"].as_str().map(str::to_owned);
    let mut devices: Vec<_> = hangs.iter().filter_map(device).collect();
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

/// One device blocks each request for 2 s, the other one for 4 s: two hangs, each as long as its own device blocked.
#[test]
fn two_devices_side_by_side_block_a_request_each_for_its_own_time() -> Result<()> {
    let two = two_devices(["write_timeout=500ms", "write_timeout=1s"])?;
    let healthy = two.client.get(BIG_REQUEST)?;
    let fault = Fault::drop_output(PORT).apply(&two.network.vault)?;
    two.logs.iter().try_for_each(LogServer::reset_connections)?;
    let first = two.client.get(BIG_REQUEST)?;
    let both = two.client.get(BIG_REQUEST)?;
    fault.lift()?;
    let trace = end(two.tracer, &[&first, &both])?;
    let slack = SEEN + healthy.duration;
    let clients = [&healthy, &first, &both].map(truth::Client::from);
    truth::all_agree(&clients, &trace.hangs(), slack).with_context(|| trace.text.clone())?;
    for (index, seconds) in [(0, 2), (1, 4)] {
        let hangs = hangs_of(&trace, &both);
        let at = address(&two.network, index).to_string();
        let hang = hangs.iter().find(|hang| hang["device"]["address"] == at);
        let hang = hang.with_context(|| format!("no hang of {at}: {}", trace.text))?;
        let (told, least) = (duration(hang), Duration::from_secs(seconds));
        assert!(
            told + tolerance() > least && told < least + late(),
            "{hang}"
        );
        assert_eq!(stalls(hang), NO_CONNECTION, "{hang}");
    }
    Ok(())
}

/// A server with a file and two sockets, each with a log server on a host of its own.
struct TwoDevices {
    tracer: Tracer,
    client: Client,
    server: Eventlogger,
    logs: [LogServer; 2],
    network: Network,
}

fn two_devices(options: [&str; 2]) -> Result<TwoDevices> {
    let network = Network::create(2)?;
    let endpoint = |index: usize| Endpoint::Tcp(address(&network, index));
    let log = |index: usize| LogServer::start(&network.logs[index].namespace, endpoint(index));
    let logs = [log(0)?, log(1)?];
    let server = usual()
        .audit_to(&endpoint(0), &[options[0]])
        .audit_to(&endpoint(1), &[options[1]])
        .start(&network.vault)?;
    Ok(TwoDevices {
        tracer: attach(&server)?,
        client: server.client(),
        server,
        logs,
        network,
    })
}

fn address(network: &Network, index: usize) -> std::net::SocketAddr {
    network.logs[index].port(Family::V4, PORT)
}

fn connected(server: &Eventlogger, remote: std::net::SocketAddr) -> Result<bool> {
    let sockets = sockets::tcp_to(server.pid(), remote)?;
    Ok(sockets.iter().any(|s| s.state == TcpState::Established))
}

/// A Unix socket tells nobody that it closes, and the goroutine that gave up is never seen again.
#[test]
fn a_unix_socket_whose_reader_stops_is_peer_full() -> Result<()> {
    // Longer than a busy machine makes a request take that meets no full socket.
    const TIMEOUT: Duration = Duration::from_millis(1500);
    let network = Network::create(1)?;
    let directory = tempfile::tempdir()?;
    let at = Endpoint::Unix(directory.path().join("log.sock"));
    let log = Options::new(at.clone()).start(&network.vault)?;
    let server = usual()
        .audit_to(&at, &["write_timeout=1500ms"])
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
