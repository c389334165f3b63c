//! Records several clients at once over dead devices, and beside it what each client measured:
//! `record-clients DIRECTORY`, as root, with the variables that `cargo xtask test` sets.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, ensure};
use lab::{
    Lab, Measured, Tracer, scenario::BIG_REQUEST, server::bao_from_environment,
    tracer::agent_from_environment,
};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let directory = env::args().nth(1).context("record-clients DIRECTORY")?;
    for sockets in [1, 2] {
        for clients in [4, 16] {
            for protocol in ["http1", "http1-tls", "http2"] {
                record(Path::new(&directory), sockets, clients, protocol)?;
            }
        }
    }
    Ok(())
}

fn record(directory: &Path, sockets: u8, clients: usize, protocol: &str) -> Result<()> {
    let case = format!("{protocol}-{clients}-clients-{sockets}-devices");
    // 16 clients over two devices: 16 x 8 time-outs, if they all come one after the other.
    let write_timeout = if clients * usize::from(sockets) > 16 {
        "150ms"
    } else {
        "250ms"
    };
    let lab = Lab::builder(&bao_from_environment()?)
        .devices(lab::Devices::Tcp(sockets))
        .option("write_timeout", write_timeout)
        .tls();
    let lab = lab.start()?;
    let paths = prepare(&lab, clients)?;
    let tracer = Tracer::attach(&agent_from_environment()?, lab.server.pid(), &[])?;
    lab.client.get(BIG_REQUEST)?;
    let (fault, _) = lab.cut_off()?;
    let measured = match protocol {
        "http1" => lab.client.get_each(&paths)?,
        "http1-tls" => lab.server.secure_client()?.get_each(&paths)?,
        _ => lab.server.secure_client()?.multiplex()?.get_each(&paths)?,
    };
    fault.lift()?;
    lab.client.get(BIG_REQUEST)?;
    std::thread::sleep(std::time::Duration::from_secs(4)); // HTTP/2 requests are over when silent for 3 s
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    let directory = directory.join(&case);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("recording.jsonl"), &trace.recording)?;
    fs::write(directory.join("trace-of-today.jsonl"), &trace.text)?;
    let measured: Vec<_> = measured.iter().map(told).collect();
    let measured = json!({ "write_timeout": write_timeout, "requests": measured });
    fs::write(directory.join("measured.json"), format!("{measured:#}\n"))?;
    println!(
        "{case}: {} bytes, {} hangs",
        trace.recording.len(),
        trace.hangs().len()
    );
    Ok(())
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

fn told(request: &Measured) -> Value {
    json!({
        "id": request.request_id,
        "port": request.local_port,
        "path": request.audit_path(),
        "ms": request.duration.as_secs_f64() * 1e3,
        "status": request.status,
    })
}
