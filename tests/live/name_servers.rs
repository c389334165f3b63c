//! Devices whose names are not found: what the name server answered.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, bail, ensure};
use lab::{
    AuditDevice, Endpoint, Family, LogServer, NameServer, Network, Server, Tracer,
    server::bao_from_environment, tracer::agent_from_environment,
};

/// For a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// What is said of each of [`NameServer::FAILING`], behind the name server. Over TCP, to which truncated answers lead, nobody answers.
const SAID: [&str; 5] = [
    "answered that nxdomain.lab does not exist or has no address",
    "answered that empty.lab does not exist or has no address",
    "answered the question for servfail.lab with an error",
    "answered the question for refused.lab with an error",
    "could not be reached with the question for truncated.lab",
];

/// Field case B4: one request meets them all.
#[test]
fn what_a_name_server_answers_is_reported_of_each_device() -> Result<()> {
    let network = Network::create(1)?;
    let host = &network.logs[0];
    let IpAddr::V4(at) = host.address(Family::V4) else {
        bail!("no IPv4");
    };
    let names = NameServer::start(&host.namespace, at)?;
    let mut server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .resolver(at.into(), "127.0.0.1 localhost\n");
    let mut logs = Vec::new();
    for (port, name) in (1515..).zip(NameServer::FAILING) {
        logs.push(LogServer::start(
            &host.namespace,
            Endpoint::Tcp((at, port).into()),
        )?);
        let endpoint = Endpoint::TcpName(format!("{name}.lab:{port}"));
        server = server.audit(AuditDevice::socket(name, &endpoint));
    }
    let server = server.start(&network.vault)?;
    let client = server.client(Family::V4);
    // On a busy machine five look-ups may take longer than usual, and block nobody all the same.
    let options = ["--threshold", "3s"];
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &options)?;
    ensure!(client.get("/v1/sys/mounts")?.status == 200, "it is healthy");
    names.fail();
    for log in &logs {
        log.reset_connections()?;
    }
    ensure!(
        client.get("/v1/sys/mounts")?.status == 200,
        "a file takes it"
    );
    for (name, expected) in NameServer::FAILING.into_iter().zip(SAID) {
        let path = format!("{name}/");
        let refusal = tracer.wait_for("its refusal", LIMIT, |record| {
            record["type"] == "refusal" && record["device"]["path"] == *path
        })?;
        assert_eq!(refusal["cause"], "resolver", "{refusal}");
        let explanation = refusal["explanation"].to_string();
        let expected = format!("the name server {at} {expected}");
        assert!(explanation.contains(&expected), "{refusal}");
        assert_eq!(refusal["request"]["path"], "sys/mounts", "{refusal}");
    }
    let trace = tracer.stop()?;
    assert!(trace.hangs().is_empty(), "{}", trace.text);
    Ok(())
}
