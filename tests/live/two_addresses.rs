//! A device whose name has an IPv6 and an IPv4 address: Go dials the other family if the first has not answered after 0.3 s
//! (`net.Dialer.FallbackDelay`), in goroutines of their own.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    AuditDevice, Client, Endpoint, Family, Fault, LogServer, Namespace, Network, Server, Tracer,
    fault::{Hook, Verdict},
    scenario::{self, BIG_REQUEST, PORT},
    server::bao_from_environment,
    setup::{LOG_NAME, NO_NAMES},
    tracer::agent_from_environment,
    truth::{self, SEEN},
    wait,
};

use crate::assertions::{late, tolerance};

/// Global, unlike the lab's own: RFC 6724 prefers IPv4 to unique local addresses, and a global address to IPv4.
const VAULT_V6: &str = "2001:db8:77::1";
const LOG_V6: &str = "2001:db8:77::2";

/// The write and the first dial: `write_timeout`, and the delay before the other family is dialed.
const BLOCKED: Duration = Duration::from_millis(2300);

const LIMIT: Duration = Duration::from_secs(20);

struct Scene {
    tracer: Tracer,
    client: Client,
    _server: Server,
    _logs: [LogServer; 2],
    network: Network,
}

fn scene() -> Result<Scene> {
    let network = Network::create(1)?;
    let log = &network.logs[0];
    assign(&network.vault, VAULT_V6, &log.interface())?;
    assign(&log.namespace, LOG_V6, "vault")?;
    let v6: IpAddr = LOG_V6.parse()?;
    let v4 = log.address(Family::V4);
    let listen = |at: IpAddr| {
        let at = Endpoint::Tcp(SocketAddr::new(at, PORT));
        LogServer::start(&log.namespace, at)
    };
    let logs = [listen(v6)?, listen(v4)?];
    let hosts = format!("{NO_NAMES}{v6} {LOG_NAME}\n{v4} {LOG_NAME}\n");
    let device = Endpoint::TcpName(format!("{LOG_NAME}:{PORT}"));
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(AuditDevice::socket("to-socket", &device))
        .resolver(log.absent_address(Family::V4), &hosts)
        .start(&network.vault)?;
    wait::until("entries over IPv6", LIMIT, || {
        Ok((logs[0].received_bytes() > 0).then_some(()))
    })?;
    Ok(Scene {
        tracer: Tracer::attach(&agent_from_environment()?, server.pid(), &[])?,
        client: server.client(Family::V4),
        _server: server,
        _logs: logs,
        network,
    })
}

fn assign(namespace: &Namespace, address: &str, interface: &str) -> Result<()> {
    let address = format!("{address}/64");
    namespace.ip(["addr", "add", &address, "dev", interface, "nodad"])
}

#[test]
fn dials_that_race_are_one_wait_which_ends_when_the_request_is_answered() -> Result<()> {
    black_hole(Hook::Input, |network| &network.logs[0].namespace)
}

#[test]
fn dials_that_race_are_one_wait_where_this_host_drops_too() -> Result<()> {
    black_hole(Hook::Output, |network| &network.vault)
}

/// What goes to the IPv6 address is dropped, while the connection stands.
fn black_hole(hook: Hook, on: impl Fn(&Network) -> &Namespace) -> Result<()> {
    let scene = scene()?;
    let healthy = scene.client.get(BIG_REQUEST)?;
    let packets = format!("meta nfproto ipv6 tcp dport {PORT}");
    let black_hole = Fault::rule(hook, packets, Verdict::Drop).apply(on(&scene.network))?;
    let full = scenario::fill(&scene.client)?.pop().context("no request")?;
    ensure!(
        full.duration + tolerance() > BLOCKED && full.duration < BLOCKED + late(),
        "the lab: {:?}",
        full.duration
    );
    // Long before the end of the trace.
    let is_hang = |record: &serde_json::Value| record["type"] == "hang";
    scene.tracer.wait_for("the hang", LIMIT, is_hang)?;
    let next = scene.client.get(BIG_REQUEST)?;
    ensure!(!next.hung(), "the other family is no way out");
    black_hole.lift()?;
    let trace = scene.tracer.stop()?;
    let clients = [&healthy, &full, &next].map(truth::Client::from);
    let slack = SEEN + healthy.duration;
    truth::all_agree(&clients, &trace.hangs(), slack).with_context(|| trace.text.clone())?;
    assert_eq!(trace.hangs().len(), 1, "{}", trace.text);
    let hang = trace.hangs()[0];
    let id = full.request_id.as_deref();
    assert_eq!(hang["request"]["id"].as_str(), id, "{hang}");
    is_by_its_name(&hang["device"])?;
    let incidents = trace.of_type("incident");
    let [incident] = &incidents[..] else {
        bail!("one outage: {}", trace.text);
    };
    is_by_its_name(&incident["device"])?;
    assert!(incident["end"].is_string(), "it works again: {incident}");
    let open = trace.of_type("stalled").into_iter();
    let ends = |stalled: &serde_json::Value| stalled["hang"] == hang["id"];
    assert!(open.into_iter().all(ends), "{}", trace.text);
    Ok(())
}

/// What its operator configured, with both addresses.
fn is_by_its_name(device: &serde_json::Value) -> Result<()> {
    ensure!(device["path"] == "to-socket/", "{device}");
    ensure!(
        device["address"] == format!("{LOG_NAME}:{PORT}"),
        "{device}"
    );
    let addresses = device["addresses"].as_array().context("no addresses")?;
    ensure!((1..=2).contains(&addresses.len()), "{device}");
    Ok(())
}

/// The negative twin: both families answer.
#[test]
fn a_name_with_two_addresses_that_answer_blocks_nobody() -> Result<()> {
    let scene = scene()?;
    let requests = scenario::load(&scene.client, 4, 20)?;
    truth::nobody_was_blocked(&requests, &scene.tracer.stop()?)
}
