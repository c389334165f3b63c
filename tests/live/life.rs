//! Life goes on around a hang: clients give up, connections and descriptors are used again, the server is sealed, its
//! devices come and go. Each time everybody's time must add up, before and after.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{
    Lab, Trace, Tracer,
    client_times::{ClientRequest, Part, client_requests},
    scenario::BIG_REQUEST,
    server::bao_from_environment,
    truth::SEEN,
};
use serde_json::{Value, json};

use crate::{
    assertions::{late, matches_clients},
    outage::attach,
};

/// How long a client that gives up has waited: in the middle of the second of four dials.
const PATIENCE: Duration = Duration::from_millis(300);

fn lab_of(devices: u8) -> Result<lab::Builder> {
    let lab = Lab::builder(&bao_from_environment()?).devices(lab::Devices::Tcp(devices));
    Ok(lab.option("write_timeout", "200ms"))
}

fn account_for(lab: &Lab, tracer: Tracer, all: &[ClientRequest]) -> Result<Trace> {
    let devices: Vec<_> = lab
        .log_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let trace = tracer.stop()?;
    matches_clients(&trace, all, &devices)?;
    Ok(trace)
}

/// The client gave up; the server waits to the end all the same, and whoever comes next waits for it.
fn gave_up(port: u16, path: &str) -> ClientRequest {
    ClientRequest {
        id: None,
        port: Some(port),
        path: path.to_owned(),
        took: PATIENCE,
        part: Part::AtLeast,
    }
}

#[test]
fn a_client_that_gives_up_was_blocked_at_least_until_then() -> Result<()> {
    let lab = lab_of(1)?.start()?;
    let tracer = attach(&lab, &[])?;
    let (fault, first) = lab.cut_off()?;
    let mut impatient = lab.client.clone().with_timeout(PATIENCE).connect()?;
    let port = impatient.local_port();
    ensure!(impatient.get(BIG_REQUEST).is_err(), "it did not hang");
    let leaves = Timestamp::now();
    drop(impatient);
    let left_by = Timestamp::now();
    let next = lab.client.get(BIG_REQUEST)?;
    fault.lift()?;
    let mut all = client_requests(&[first, next]);
    all.push(gave_up(port, "sys/mounts"));
    let trace = account_for(&lab, tracer, &all)?;
    let hangs = trace.hangs().into_iter();
    let (left, stayed): (Vec<_>, Vec<_>) =
        hangs.partition(|hang| hang["request"]["client_gone_at"].is_string());
    ensure!(left.len() == 1 && stayed.len() == 2, "{}", trace.text);
    let request = &left[0]["request"];
    ensure!(request["client_port"] == port, "{request}");
    let gone = time(&request["client_gone_at"])?;
    ensure!(
        gone + SEEN >= leaves && gone <= left_by + late(),
        "it left from {leaves} to {left_by}: {request}"
    );
    ensure!(time(&request["start"])? < gone, "{request}");
    Ok(())
}

fn time(text: &Value) -> Result<Timestamp> {
    Ok(text.as_str().context("no time")?.parse()?)
}

#[test]
fn a_stream_that_is_reset_leaves_the_others_their_time() -> Result<()> {
    let lab = lab_of(1)?.server(lab::server::Builder::tls).start()?;
    let tracer = attach(&lab, &[])?;
    let (fault, first) = lab.cut_off()?;
    let mut connection = lab.server.secure_client()?.multiplex()?;
    let long = Duration::from_secs(30);
    let mut streams = connection.get_each_within(&[
        ("/v1/sys/mounts", PATIENCE),
        ("/v1/sys/auth", long),
        ("/v1/sys/policy", long),
    ])?;
    ensure!(streams.remove(0).is_err(), "it did not hang");
    fault.lift()?;
    let mut all = client_requests(&streams.into_iter().collect::<Result<Vec<_>>>()?);
    all.extend([
        (&first).into(),
        gave_up(connection.local_port(), "sys/mounts"),
    ]);
    account_for(&lab, tracer, &all).map(drop)
}

#[test]
fn each_request_of_a_reused_connection_has_a_hang_of_its_own() -> Result<()> {
    let lab = lab_of(1)?.server(lab::server::Builder::tls).start()?;
    let tracer = attach(&lab, &[])?;
    let (fault, first) = lab.cut_off()?;
    let mut all = vec![first];
    let secure = lab.server.secure_client()?;
    for mut connection in [lab.client.connect()?, secure.connect()?] {
        for _ in 0..2 {
            all.push(connection.get(BIG_REQUEST)?);
        }
    }
    let mut multiplexed = secure.multiplex()?;
    for paths in [["/v1/sys/mounts", "/v1/sys/auth"]; 2] {
        all.extend(multiplexed.get_each(&paths)?);
    }
    fault.lift()?;
    account_for(&lab, tracer, &client_requests(&all)).map(drop)
}

/// A server that closes and dials gets the same numbers again, also for its clients; and goroutines end and begin.
#[test]
fn a_device_that_dies_again_and_again_is_reported_each_time() -> Result<()> {
    let lab = lab_of(2)?.start()?;
    let tracer = attach(&lab, &[])?;
    let mut all = Vec::new();
    for _ in 0..2 {
        let (fault, first) = lab.cut_off()?;
        all.push(first);
        all.extend(lab.client.get_concurrently(3, BIG_REQUEST)?);
        fault.lift()?;
        for _ in 0..5 {
            all.push(lab.client.get(BIG_REQUEST)?);
        }
        // Failures that are closer are one incident.
        thread::sleep(Duration::from_millis(1200));
    }
    let trace = account_for(&lab, tracer, &client_requests(&all))?;
    assert_eq!(trace.of_type("incident").len(), 4, "{}", trace.text);
    Ok(())
}

/// Plugins are processes that the server forks; this one is none, so that it is tried and given up.
#[test]
fn a_plugin_started_in_the_middle_of_a_hang_changes_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let plugin = directory.path().join("no-plugin");
    std::fs::write(&plugin, "#!/bin/sh\nsleep 0.3\nexit 1\n")?;
    lab::process::run(std::process::Command::new("chmod").arg("755").arg(&plugin))?;
    let sum = lab::process::run(std::process::Command::new("sha256sum").arg(&plugin))?;
    let plugins = format!("plugin_directory = {:?}\n", directory.path());
    let lab = lab_of(1)?
        .server(|server| server.config(&plugins))
        .start()?;
    let entry = json!({ "sha256": sum[..64], "command": "no-plugin" });
    let registered = lab
        .client
        .put("/v1/sys/plugins/catalog/secret/no-plugin", &entry)?;
    ensure!(
        registered.status < 300,
        "{}",
        String::from_utf8_lossy(&registered.body)
    );
    let tracer = attach(&lab, &[])?;
    let (fault, first) = lab.cut_off()?;
    let hanging = lab.client.get_in_background(BIG_REQUEST);
    let mount = lab
        .client
        .put("/v1/sys/mounts/no-plugin", &json!({ "type": "no-plugin" }))?;
    ensure!(
        mount.status == 400,
        "{}",
        String::from_utf8_lossy(&mount.body)
    );
    let hung = hanging.join().expect("the client panicked")?;
    fault.lift()?;
    let mut all = client_requests(&[first]);
    // Who asks for the mounts waits for who changes them, too.
    all.push(ClientRequest::from(&hung).with(Part::AtMost));
    all.push(ClientRequest::from(&mount).with(Part::AtMost));
    account_for(&lab, tracer, &all).map(drop)
}

#[test]
fn a_server_that_is_sealed_and_unsealed_is_still_traced() -> Result<()> {
    let lab = lab_of(1)?.start()?;
    let tracer = attach(&lab, &[])?;
    let (fault, first) = lab.cut_off()?;
    let sealing = lab.client.put("/v1/sys/seal", &json!({}))?;
    ensure!(
        sealing.status == 204,
        "{}",
        String::from_utf8_lossy(&sealing.body)
    );
    let sealed = lab.client.get(BIG_REQUEST)?;
    ensure!(sealed.status == 503, "{}", sealed.status);
    fault.lift()?;
    let key = json!({ "key": lab.server.unseal_key()? });
    ensure!(lab.client.put("/v1/sys/unseal", &key)?.status == 200);
    let healthy = lab::wait::until("the server to be back", Duration::from_mins(1), || {
        let answer = lab.client.get(BIG_REQUEST)?;
        Ok((answer.status == 200).then_some(answer))
    })?;
    let (fault, again) = lab.cut_off()?;
    let last = lab.client.get(BIG_REQUEST)?;
    fault.lift()?;
    let mut all = client_requests(&[first, again, last]);
    all.push(ClientRequest::from(&sealing).with(Part::AtMost));
    // It may have come before the server was all there.
    all.push(ClientRequest::from(&healthy).with(Part::Nothing));
    account_for(&lab, tracer, &all).map(drop)
}
