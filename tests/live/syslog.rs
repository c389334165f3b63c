//! A syslog daemon that does not read, and then is gone: the device's socket shows the one, the server's log the other.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use lab::{
    AuditDevice, Family, Network, Server, Tracer, private_run::PrivateRun,
    server::bao_from_environment, tracer::agent_from_environment,
};

/// Go's `log/syslog` looks there, after `/dev/log` and `/var/run/syslog`.
const SYSLOG: &str = "/run/log";
const LIMIT: Duration = Duration::from_mins(1);
/// More than the daemon's socket has room for (`net.unix.max_dgram_qlen`).
const REQUESTS: usize = 1000;

fn daemon() -> Result<UnixDatagram> {
    let socket = UnixDatagram::bind(SYSLOG)?;
    socket.set_read_timeout(Some(Duration::from_millis(10)))?;
    Ok(socket)
}

#[test]
fn a_daemon_that_does_not_read_and_then_is_gone_is_one_outage() -> Result<()> {
    let network = Network::create(0)?;
    let _run = PrivateRun::enter()?;
    let first = daemon()?;
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(AuditDevice::syslog("to-syslog"))
        .start(&network.vault)?;
    let client = server.client(Family::V4);
    // What the server wrote at its start.
    while first.recv(&mut [0]).is_ok() {}
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &[])?;
    let is_over = AtomicBool::new(false);
    let second = thread::scope(|scope| -> Result<UnixDatagram> {
        let requests = scope.spawn(|| -> Result<()> {
            for _ in 0..REQUESTS {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                client.get("/v1/sys/auth")?;
            }
            Ok(())
        });
        // Each entry is given up twice after 20 ms (`go-syslog`): on a busy machine that is a hang.
        let fails =
            |record: &serde_json::Value| record["type"] == "refusal" || record["type"] == "stalled";
        let failed = tracer.wait_for("a failure", LIMIT, fails);
        fs::remove_file(SYSLOG)?;
        drop(first);
        is_over.store(true, Ordering::Relaxed);
        requests
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        failed?;
        for _ in 0..3 {
            client.get("/v1/sys/auth")?;
        }
        daemon()
    })?;
    for _ in 0..3 {
        client.get("/v1/sys/auth")?;
        while second.recv(&mut [0]).is_ok() {}
    }
    let is_incident = |record: &serde_json::Value| record["type"] == "incident";
    tracer.wait_for("the end of the incident", LIMIT, is_incident)?;
    let trace = tracer.stop()?;
    let incidents = trace.of_type("incident");
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    let incident = incidents[0];
    assert_eq!(incident["device"]["path"], "to-syslog/", "{incident}");
    assert!(incident["end"].is_string(), "{incident}");
    assert!(incident["refusals"].as_u64() >= Some(3), "{incident}");
    Ok(())
}
