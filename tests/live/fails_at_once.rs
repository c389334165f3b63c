//! Devices that take no entry and block nobody. Most show no system call of a socket: the server's own log says it.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    AuditDevice, Client, Endpoint, Family, HttpLog, Network, Server, Trace, Tracer,
    log_server::Options,
    scenario::PORT,
    server::{Builder, bao_from_environment},
    tracer::agent_from_environment,
    wait,
};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::assertions;

/// For a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// There each of them may take longer than usual, and blocks nobody all the same.
const THRESHOLD: [&str; 2] = ["--threshold", "2s"];

/// Nor any other function of the server's.
const WITHOUT_LOG: [&str; 2] = ["--probes", "tracepoint"];

/// Starts the server with this device alone, fails it, mends it: the refusal, and the trace.
fn outage(
    device: AuditDevice,
    network: &Network,
    fail: impl FnOnce(&Server) -> Result<()>,
    mend: impl FnOnce(&Server) -> Result<()>,
) -> Result<(Value, Trace)> {
    outage_with(&[], device, network, fail, mend)
}

/// The same with these options of the agent.
fn outage_with(
    options: &[&str],
    device: AuditDevice,
    network: &Network,
    fail: impl FnOnce(&Server) -> Result<()>,
    mend: impl FnOnce(&Server) -> Result<()>,
) -> Result<(Value, Trace)> {
    let server = builder()?.audit(device).start(&network.vault)?;
    let client = server.client(Family::V4);
    let options = [&THRESHOLD, options].concat();
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &options)?;
    ensure!(
        client.get("/v1/sys/mounts")?.status == 200,
        "a healthy server"
    );
    fail(&server)?;
    // One that is told to open its files again does so in its own time.
    wait::until("a failing device", LIMIT, || {
        Ok((client.get("/v1/sys/mounts")?.status == 500).then_some(()))
    })?;
    let refusal = tracer.wait_for("a refusal", LIMIT, |record| record["type"] == "refusal")?;
    for _ in 0..2 {
        client.get("/v1/sys/mounts")?;
    }
    mend(&server)?;
    // A file's growth is looked for twice a second.
    let works = |record: &Value| record["type"] == "incident";
    requests_until("end of the incident", (&tracer, &client), works)?;
    Ok((refusal, tracer.stop()?))
}

fn builder() -> Result<Builder> {
    Ok(Server::builder(&bao_from_environment()?))
}

/// One incident that ended, with the requests that failed in it, which were written down once.
fn is_one_outage(trace: &Trace, device: &Value) -> Result<()> {
    assert!(trace.hangs().is_empty(), "a hang");
    assert_eq!(trace.of_type("refusal").len(), 1);
    let incidents = trace.of_type("incident");
    let [incident] = incidents[..] else {
        anyhow::bail!("{incidents:?}");
    };
    assertions::is_same_device(&incident["device"], device);
    assert!(incident.get("end").is_some(), "{incident}");
    let refusals = incident["refusals"].as_u64().context("not counted")?;
    assert!(refusals >= 3, "{}", trace.text);
    let failed = incident["failed_entries"].as_u64();
    assert!(
        failed.context("not counted")? >= 2 * refusals - 1,
        "{}",
        trace.text
    );
    let summary = trace.summary()?;
    assert_eq!(summary["failed_requests"], refusals, "{summary}");
    Ok(())
}

/// A file system of its own, gone with it.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Result<Self> {
        let size = Some("size=2m");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), size)?;
        Ok(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // The server may have it open: its end frees it.
        let _ = umount(self.0);
    }
}

#[test]
fn a_full_disk_is_no_space() -> Result<()> {
    let network = Network::create(0)?;
    let directory = tempfile::tempdir()?;
    let _disk = SmallDisk::mount(directory.path())?;
    let path = directory.path().join("audit.log");
    let filler = directory.path().join("filler");
    let (refusal, trace) = outage(
        AuditDevice::file("to-disk", &path),
        &network,
        |_| {
            let mut file = File::create(&filler)?;
            while file.write_all(&[0; 4096]).is_ok() {}
            Ok(())
        },
        |_| Ok(fs::remove_file(&filler)?),
    )?;
    assert_eq!(refusal["cause"], "no_space", "{refusal}");
    assert_eq!(refusal["device"]["address"], path.display().to_string());
    is_one_outage(&trace, &refusal["device"])
}

/// Requests go on until the tracer has written what is waited for.
fn requests_until(
    what: &str,
    (tracer, client): (&Tracer, &Client),
    is_it: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        ensure!(
            client.get("/v1/sys/mounts")?.status == 200,
            "a healthy server"
        );
        if let Some(found) = tracer.records()?.into_iter().find(&is_it) {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("no {what} within {LIMIT:?}")
}

/// Field case B8: neither a system call nor the log shows it, but a healthy device beside it.
#[test]
fn a_full_disk_beside_a_healthy_socket_shows_without_the_log() -> Result<()> {
    let network = Network::create(1)?;
    let directory = tempfile::tempdir()?;
    let _disk = SmallDisk::mount(directory.path())?;
    let path = directory.path().join("audit.log");
    let filler = directory.path().join("filler");
    let endpoint = Endpoint::Tcp(network.logs[0].port(Family::V4, PORT));
    let _log = Options::new(endpoint.clone()).start(&network.logs[0].namespace)?;
    let server = builder()?
        .audit(AuditDevice::file("to-disk", &path))
        .audit(AuditDevice::socket("to-socket", &endpoint))
        .start(&network.vault)?;
    let client = server.client(Family::V4);
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &WITHOUT_LOG)?;
    let probes = tracer.records()?[0]["probes"].to_string();
    ensure!(!probes.contains("uprobe"), "the log is read: {probes}");
    // The negative twin: while both take all, nothing is said.
    let healthy = Instant::now();
    while healthy.elapsed() < Duration::from_secs(2) {
        client.get("/v1/sys/mounts")?;
        thread::sleep(Duration::from_millis(50));
    }
    assert!(!tracer.records()?.iter().any(|r| r["type"] == "refusal"));
    let mut file = File::create(&filler)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    // What is open keeps its room when it is removed.
    drop(file);
    let both = (&tracer, &client);
    let refusal = requests_until("refusal", both, |record| record["type"] == "refusal")?;
    assert_eq!(refusal["cause"], "no_space", "{refusal}");
    assert_eq!(refusal["inferred"], true, "{refusal}");
    assert_eq!(refusal["device"]["address"], path.display().to_string());
    assert_eq!(refusal["request"]["path"], "sys/mounts", "{refusal}");
    for _ in 0..2 {
        client.get("/v1/sys/mounts")?;
    }
    fs::remove_file(&filler)?;
    let incident = requests_until("incident", both, |record| record["type"] == "incident")?;
    assert!(incident.get("end").is_some(), "{incident}");
    assert_eq!(incident["device"], refusal["device"], "{incident}");
    assert!(incident["failed_entries"].as_u64() >= Some(4), "{incident}");
    let trace = tracer.stop()?;
    assert!(trace.hangs().is_empty(), "a hang");
    let refusals = trace.of_type("refusal");
    assert!(refusals.iter().all(|r| r["device"] == refusal["device"]));
    assert_eq!(trace.of_type("incident").len(), 1, "{}", trace.text);
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_made_is_said_with_its_errno() -> Result<()> {
    let network = Network::create(0)?;
    let directory = tempfile::tempdir()?;
    let (place, moved) = (
        directory.path().join("logs"),
        directory.path().join("moved"),
    );
    let path = place.join("audit.log");
    let (refusal, trace) = outage(
        AuditDevice::file("to-disk", &path),
        &network,
        |server| {
            fs::rename(&place, &moved)?;
            File::create(&place)?;
            kill(Pid::from_raw(i32::try_from(server.pid())?), Signal::SIGHUP)?;
            Ok(())
        },
        |_| {
            fs::remove_file(&place)?;
            Ok(fs::rename(&moved, &place)?)
        },
    )?;
    assert_eq!(refusal["cause"], "io_error", "{refusal}");
    assert_eq!(refusal["errno"], "ENOTDIR", "{refusal}");
    assert_eq!(refusal["device"]["address"], path.display().to_string());
    is_one_outage(&trace, &refusal["device"])
}

#[test]
fn a_unix_socket_that_is_gone_is_not_found() -> Result<()> {
    let network = Network::create(0)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("log.sock");
    let endpoint = Endpoint::Unix(path.clone());
    let log = RefCell::new(Some(Options::new(endpoint.clone()).start_here()?));
    let (refusal, trace) = outage(
        AuditDevice::socket("to-socket", &endpoint),
        &network,
        |_| {
            log.take();
            // Some take their path with them.
            let _ = fs::remove_file(&path);
            Ok(())
        },
        |_| {
            log.replace(Some(Options::new(endpoint.clone()).start_here()?));
            Ok(())
        },
    )?;
    assert_eq!(refusal["cause"], "not_found", "{refusal}");
    assert_eq!(refusal["errno"], "ENOENT", "{refusal}");
    assert_eq!(refusal["device"]["address"], path.display().to_string());
    is_one_outage(&trace, &refusal["device"])
}

#[test]
fn an_http_server_that_rejects_is_said_with_its_status() -> Result<()> {
    an_http_server_rejects(&[])
}

#[test]
fn an_answer_that_rejects_shows_without_the_log() -> Result<()> {
    an_http_server_rejects(&WITHOUT_LOG)
}

fn an_http_server_rejects(options: &[&str]) -> Result<()> {
    let network = Network::create(1)?;
    let at = network.logs[0].port(Family::V4, PORT);
    let log = HttpLog::start(&network.logs[0].namespace, at)?;
    let (refusal, trace) = outage_with(
        options,
        AuditDevice::http("to-http", at),
        &network,
        |_| {
            log.answer_with(Some(503));
            Ok(())
        },
        |_| {
            log.answer_with(None);
            Ok(())
        },
    )?;
    assert_eq!(refusal["cause"], "rejected", "{refusal}");
    assert_eq!(refusal["http_status"], 503, "{refusal}");
    is_one_outage(&trace, &refusal["device"])
}

/// The negative twin: a server that answers 5xx for another reason.
#[test]
fn answers_with_5xx_alone_are_no_refusal() -> Result<()> {
    let network = Network::create(0)?;
    let server = builder()?.audit_to_file().start(&network.vault)?;
    let client = server.client(Family::V4);
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &[])?;
    for _ in 0..3 {
        client.get("/v1/sys/mounts")?;
        // Not audited, and answered as asked for.
        ensure!(client.get("/v1/sys/health?activecode=503")?.status == 503);
    }
    let trace = tracer.stop()?;
    assert!(trace.of_type("refusal").is_empty() && trace.of_type("incident").is_empty());
    assert_eq!(trace.summary()?["failed_requests"], 3);
    let said = "3 of 6 requests were answered with HTTP 5xx, and no audit device was seen failing";
    assert!(trace.terminal.contains(said), "{}", trace.terminal);
    Ok(())
}
