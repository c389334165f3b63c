//! Records several clients at once over dead devices, and beside it what each of them measured, as root, with the
//! variables that `cargo xtask test` sets: `record-clients DIRECTORY [CASE...]`, where a case is such as
//! `http2-4-clients-2-devices`; without one, all of them.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, ensure};
use lab::{
    Lab, Measured, Tracer,
    client_times::{ClientTimes, client_requests},
    scenario::BIG_REQUEST,
    server::bao_from_environment,
    tracer::{RECORD, agent_from_environment},
};
use serde_json::json;

/// A connection each, the same with TLS, a stream each of one connection.
const PROTOCOLS: [&str; 3] = ["http1", "http1-tls", "http2"];

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let directory = arguments
        .next()
        .context("record-clients DIRECTORY [CASE...]")?;
    let wanted: Vec<_> = arguments.collect();
    for (devices, clients) in [(1, 4), (2, 4), (1, 16), (2, 16)] {
        for protocol in PROTOCOLS {
            let case = format!("{protocol}-{clients}-clients-{devices}-devices");
            if wanted.is_empty() || wanted.contains(&case) {
                let directory = Path::new(&directory).join(&case);
                record(&directory, protocol, clients, devices).context(case)?;
            }
        }
    }
    Ok(())
}

fn record(directory: &Path, protocol: &str, clients: usize, devices: u8) -> Result<()> {
    let lab = Lab::builder(&bao_from_environment()?)
        .devices(lab::Devices::Tcp(devices))
        // A recording is to stay small: it grows with the time that it takes.
        .option("write_timeout", if clients > 4 { "100ms" } else { "250ms" })
        .server(lab::server::Builder::tls)
        .start()?;
    let paths = prepare(&lab, clients)?;
    let tracer = Tracer::attach(&agent_from_environment()?, lab.server.pid(), &[RECORD])?;
    let mut all = vec![lab.client.get(BIG_REQUEST)?];
    let (fault, first) = lab.cut_off()?;
    all.extend(ask(&lab, protocol, &paths)?);
    fault.lift()?;
    all.extend([first, lab.client.get(BIG_REQUEST)?]);
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    let devices = lab.log_addresses();
    let times = ClientTimes {
        requests: client_requests(&all),
        devices: devices.iter().map(ToString::to_string).collect(),
        side_by_side: false,
    };
    fs::create_dir_all(directory)?;
    fs::write(directory.join("recording.jsonl"), &trace.recording)?;
    let clients = serde_json::to_string_pretty(&times)? + "\n";
    fs::write(directory.join("clients.json"), clients)?;
    let settled = times.matches(&trace.hangs());
    println!(
        "{}: {} bytes, {} hangs, {}",
        directory.display(),
        trace.recording.len(),
        trace.hangs().len(),
        settled.map_or_else(|error| format!("{error:#}"), |()| "settled".to_owned())
    );
    Ok(())
}

fn ask(lab: &Lab, protocol: &str, paths: &[String]) -> Result<Vec<Measured>> {
    match protocol {
        "http1" => lab.client.get_each(paths),
        "http1-tls" => lab.server.secure_client()?.get_each(paths),
        _ => lab.server.secure_client()?.multiplex()?.get_each(paths),
    }
}

/// A secret for each client, so that each has a path of its own.
fn prepare(lab: &Lab, clients: usize) -> Result<Vec<String>> {
    let paths: Vec<_> = (0..clients)
        .map(|n| format!("/v1/secret/data/client-{n}"))
        .collect();
    for path in &paths {
        lab.client.put(path, &json!({ "data": { "of": path } }))?;
    }
    Ok(paths)
}
