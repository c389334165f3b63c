//! As a service runs it: notified, its file appended to and rotated; and in a container beside its server.

use std::{fs, os::unix::net::UnixDatagram, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    AuditDevice, Endpoint, Family, Fault, LogServer, Network, Server, Tracer,
    replay::replay,
    scenario::{BIG_REQUEST, PORT},
    server::bao_from_environment,
    tracer::{agent_from_environment, records},
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::outage::{attach, lab};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_trace_is_appended_to_its_file_and_goes_on_in_a_new_one_after_sighup() -> Result<()> {
    let lab = lab()?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let manager = UnixDatagram::bind(at("notify"))?;
    manager.set_nonblocking(true)?;
    let attach = || -> Result<Tracer> {
        let mut command = Command::new(agent_from_environment()?);
        command.args(["trace", "--pid", &lab.server.pid().to_string(), "--output"]);
        command
            .arg(at("trace.jsonl"))
            .env("NOTIFY_SOCKET", at("notify"));
        Tracer::attach_by(&mut command)
    };
    ensure!(attach()?.stop()?.status.success(), "the first one failed");
    let mut tracer = attach()?;
    wait::until("the second session in the file", LIMIT, || {
        let text = fs::read_to_string(at("trace.jsonl"))?;
        Ok((text.matches('\n').count() == 3).then_some(()))
    })?;
    fs::rename(at("trace.jsonl"), at("renamed"))?;
    tracer.signal(Signal::SIGHUP)?;
    wait::until("the new file, which has a session at once", LIMIT, || {
        let text = fs::read_to_string(at("trace.jsonl")).unwrap_or_default();
        Ok(text.ends_with('\n').then_some(()))
    })?;
    lab.client.get(BIG_REQUEST)?;
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);

    let types = |name: &str| -> Result<Vec<String>> {
        let all = records(&fs::read_to_string(at(name))?)?;
        Ok(all
            .iter()
            .map(|record| record["type"].to_string())
            .collect())
    };
    let [session, summary] = ["\"session\"", "\"summary\""];
    assert_eq!(
        types("renamed")?,
        [session, summary, session, "\"rotated\""]
    );
    assert_eq!(types("trace.jsonl")?, [session, summary]);

    let mut buffer = [0; 100];
    let messages = std::iter::from_fn(|| {
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    });
    let ready = format!("READY=1\nSTATUS=Tracing PID {}", lab.server.pid());
    let expected = [&*ready, "STOPPING=1", &*ready, "STOPPING=1"];
    assert_eq!(messages.collect::<Vec<_>>(), expected);
    Ok(())
}

/// From what the kernel side kept back while all was well, and what followed.
#[test]
fn the_flight_recorder_writes_what_gives_the_same_hangs() -> Result<()> {
    let lab = lab()?;
    let directory = tempfile::tempdir()?;
    let name = directory.path().to_string_lossy().into_owned();
    let files = || -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(directory.path())?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let tracer = attach(&lab, &["--flight-recorder", &name])?;
    for _ in 0..5 {
        lab.client.get(BIG_REQUEST)?;
    }
    ensure!(files()?.is_empty(), "nothing went wrong");
    let (fault, _) = lab.cut_off()?;
    lab.client.get_concurrently(2, BIG_REQUEST)?;
    fault.lift()?;
    lab.client.get(BIG_REQUEST)?;
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    let recorded = files()?;
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    let output = directory.path().join("replayed.jsonl");
    replay(&recorded[0], &output, &["--quiet"])?;
    let replayed = records(&fs::read_to_string(output)?)?;
    let hangs = |all: Vec<&Value>| -> Vec<Value> {
        let hangs = all.into_iter().filter(|record| record["type"] == "hang");
        // They are numbered in each trace.
        let without_id = |mut hang: Value| {
            hang["id"].take();
            hang
        };
        hangs.cloned().map(without_id).collect()
    };
    let expected = hangs(trace.hangs());
    assert_eq!(hangs(replayed.iter().collect()), expected);
    ensure!(expected.len() >= 2, "{}", trace.text);
    Ok(())
}

/// Both see other numbers than the host's, and the kernel translates them.
#[test]
fn a_server_is_traced_from_within_its_own_pid_namespace() -> Result<()> {
    let network = Network::create(1)?;
    let at = network.logs[0].port(Family::V4, PORT);
    let log = LogServer::start(&network.logs[0].namespace, Endpoint::Tcp(at))?;
    let socket = AuditDevice::socket("to-socket", &Endpoint::Tcp(at));
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(socket.option("write_timeout", "200ms"))
        .contained()
        .start(&network.vault)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("trace.jsonl");
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &server.pid().to_string(),
        "--pid",
        "unshare",
        "--mount",
        "sh",
        "-c",
    ]);
    command
        .arg("mount -t proc proc /proc && exec \"$@\"")
        .arg("sh");
    command.arg(agent_from_environment()?);
    // Signals would end nsenter alone.
    command
        .args(["trace", "--pid", "1", "--duration", "10s", "--output"])
        .arg(&path);
    let tracer = Tracer::attach_by(&mut command)?;
    let client = server.client(Family::V4);
    client.get(BIG_REQUEST)?;
    let fault = Fault::drop_output(PORT).apply(&network.vault)?;
    log.reset_connections()?;
    client.get(BIG_REQUEST)?;
    fault.lift()?;
    let trace = tracer.finish()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    let all = records(&fs::read_to_string(&path)?)?;
    assert_eq!(all[0]["pid"], 1, "{}", all[0]);
    let hang = all.iter().find(|record| record["type"] == "hang");
    let hang = hang.with_context(|| format!("no hang: {all:?}"))?;
    assert_eq!(hang["device"]["address"], at.to_string(), "{hang}");
    assert_eq!(
        hang["request"]["path"],
        BIG_REQUEST.trim_start_matches("/v1/"),
        "{hang}"
    );
    Ok(())
}
