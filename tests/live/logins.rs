//! Field case C4: logins for which the server asks somebody else, on a connection of its own each time. The programs go on
//! buffering, and count as exactly as the clients do.

use std::time::Duration;

use anyhow::Result;
use lab::{
    AuditDevice, Endpoint, Family, LogServer, Network, Server, Tracer, scenario::PORT,
    server::bao_from_environment, tracer::agent_from_environment,
};

#[path = "../examples/healthy/kubernetes.rs"]
mod kubernetes;

const LOGINS: usize = 60;
/// For each login.
const REQUESTS: usize = 20;
/// The agent's threshold.
const WAIT: Duration = Duration::from_millis(100);

#[test]
fn logins_that_dial_elsewhere_cost_no_count() -> Result<()> {
    let network = Network::create(1)?;
    let host = &network.logs[0];
    let at = |port| host.port(Family::V4, port);
    let clusters = [at(6443), at(6444)];
    for (at, closes) in clusters.into_iter().zip([true, false]) {
        kubernetes::start(&host.namespace, at, closes)?;
    }
    let to_log = Endpoint::Tcp(at(PORT));
    let _log = LogServer::start(&host.namespace, to_log.clone())?;
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(AuditDevice::socket("to-tcp", &to_log))
        .start(&network.vault)?;
    let client = server.client(Family::V4);
    kubernetes::prepare(&client, clusters)?;
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &[])?;
    let mut connection = client.connect()?;
    let mut took = Vec::new();
    for number in 0..LOGINS {
        took.push(kubernetes::login(&client, number % 2)?.duration);
        for _ in 0..REQUESTS {
            took.push(connection.get("/v1/auth/token/lookup-self")?.duration);
        }
    }
    let trace = tracer.stop()?;
    let summary = trace.summary()?;
    let requests = LOGINS * (1 + REQUESTS);
    assert_eq!(summary["requests"], requests, "{}", trace.text);
    assert_eq!(summary["audit_writes"], 2 * requests, "{}", trace.text);
    for kind in ["hang", "refusal", "incident"] {
        assert!(trace.of_type(kind).is_empty(), "{kind}: {}", trace.text);
    }
    // With all of them sent there would be six a request. Whoever waits, if only for a processor, ends the buffering.
    let events = summary["events"].as_u64().unwrap_or(u64::MAX);
    let waited = took.iter().any(|took| *took > WAIT);
    assert!(events < requests as u64 || waited, "{events} of {requests}");
    Ok(())
}
