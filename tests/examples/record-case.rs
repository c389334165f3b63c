//! Records the replay cases anew from a real server: `record-case CASE...`, as root, with the variables that
//! `cargo xtask test` sets. `UPDATE_REPLAYS=1 cargo test -p vault-tracer-tests --test replay` then writes what is
//! expected of them.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    Family, Lab, Tracer,
    scenario::{self, BIG_REQUEST},
    server::{TOKEN, bao_from_environment},
    tracer::agent_from_environment,
};
use serde_json::json;

/// Long enough to be a hang, if a device were to blame.
const SLOW: Duration = Duration::from_millis(1200);
const PATIENCE: Duration = Duration::from_mins(2);

fn main() -> Result<()> {
    for case in env::args().skip(1) {
        let (prepare, story): (Option<Story>, Story) = match case.as_str() {
            "drop-on-vault-host" => (None, drop_on_vault_host),
            "healthy-load" => (None, healthy_load),
            "slow-client-reading" => (Some(big_value), slow_client_reading),
            "slow-client-sending" => (None, slow_client_sending),
            "slow-work" => (Some(mount_pki), slow_work),
            other => bail!("no case is called {other}"),
        };
        record(&case, prepare, story).with_context(|| case)?;
    }
    Ok(())
}

type Story = fn(&Lab) -> Result<()>;

fn record(case: &str, prepare: Option<Story>, story: Story) -> Result<()> {
    let lab = Lab::start(&bao_from_environment()?, Family::V4)?;
    prepare.map_or(Ok(()), |prepare| prepare(&lab))?;
    let tracer = Tracer::attach(&agent_from_environment()?, lab.server.pid(), &[])?;
    story(&lab)?;
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("replays")
        .join(case);
    fs::create_dir_all(&directory)?;
    let path = directory.join("recording.jsonl");
    fs::write(&path, &trace.recording)?;
    println!(
        "{}: {} bytes\n{}",
        path.display(),
        trace.recording.len(),
        trace.terminal
    );
    Ok(())
}

fn drop_on_vault_host(lab: &Lab) -> Result<()> {
    let fault = lab.drop_output()?;
    lab.fill()?;
    lab.client.get(BIG_REQUEST)?;
    fault.lift()?;
    lab.client.get(BIG_REQUEST).map(drop)
}

fn healthy_load(lab: &Lab) -> Result<()> {
    scenario::load(&lab.client, 4, 6).map(drop)
}

fn big_value(lab: &Lab) -> Result<()> {
    let value = "x".repeat(8 << 20);
    lab.client
        .put(
            "/v1/secret/data/big",
            &json!({ "data": { "value": value } }),
        )
        .map(drop)
}

fn slow_client_reading(lab: &Lab) -> Result<()> {
    let mut stream = lab.client.stream()?;
    let head = "GET /v1/secret/data/big HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n";
    write!(stream, "{head}X-Vault-Token: {TOKEN}\r\n\r\n")?;
    std::thread::sleep(SLOW); // the client is what is slow here
    finish(stream)
}

fn slow_client_sending(lab: &Lab) -> Result<()> {
    let mut stream = lab.client.stream()?;
    let body = json!({ "data": { "value": "x".repeat(100) } }).to_string();
    let (first, second) = body.split_at(20);
    let head = "PUT /v1/secret/data/small HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n";
    let length = body.len();
    write!(
        stream,
        "{head}Content-Length: {length}\r\nX-Vault-Token: {TOKEN}\r\n\r\n{first}"
    )?;
    std::thread::sleep(SLOW); // the client is what is slow here
    stream.write_all(second.as_bytes())?;
    finish(stream)
}

fn finish(mut stream: TcpStream) -> Result<()> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

fn mount_pki(lab: &Lab) -> Result<()> {
    lab.client
        .put("/v1/sys/mounts/pki", &json!({ "type": "pki" }))
        .map(drop)
}

/// Keys of 4096 bits take as long as luck wants.
fn slow_work(lab: &Lab) -> Result<()> {
    let begun = Instant::now();
    let key = json!({ "common_name": "lab", "key_type": "rsa", "key_bits": 4096 });
    while begun.elapsed() < PATIENCE {
        let answer = lab.client.put("/v1/pki/root/generate/internal", &key)?;
        ensure!(
            answer.status == 200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        if answer.duration > SLOW {
            return Ok(());
        }
    }
    bail!("this machine is too fast: every key took less than {SLOW:?}")
}
