//! The same delays for other reasons: no device is to blame.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::{NOTHING, State, ask};
use crate::client::Measured;
use crate::network::Family;
use crate::scenario::{self, Lab};
use crate::server::TOKEN;

/// Long enough to be a hang, if a device were to blame.
const SLOW: Duration = Duration::from_millis(1200);
const PATIENCE: Duration = Duration::from_mins(2);

/// A healthy server under load.
pub const HEALTHY_LOAD: State = State {
    name: "healthy-load",
    happen: |lab| scenario::load(&lab.client, 4, 6),
    ..NOTHING
};

/// A healthy device, written to every 1.5 s.
pub const RARE_WRITES: State = State {
    name: "rare-writes",
    happen: |lab| {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(1500)); // little load, not a wait for something
            ask(lab, 1)?;
        }
        ask(lab, 1)
    },
    ..NOTHING
};

/// A request that is a lot of work: keys of 4096 bits take as long as luck wants.
pub const SLOW_WORK: State = State {
    name: "slow-work",
    prepare: |lab| mount(lab, "pki"),
    happen: |lab| {
        let begun = Instant::now();
        let key = json!({ "common_name": "lab", "key_type": "rsa", "key_bits": 4096 });
        let mut requests = Vec::new();
        while begun.elapsed() < PATIENCE {
            let request = lab.client.put("/v1/pki/root/generate/internal", &key)?;
            is_ok(&request)?;
            let took = request.duration;
            requests.push(request);
            if took > SLOW {
                return Ok(requests);
            }
        }
        bail!("this machine is too fast: every key took less than {SLOW:?}")
    },
    ..NOTHING
};

/// A storage that takes long: a secret is about ten accesses to it, twice the agent's threshold in all or more.
pub const SLOW_STORAGE: State = State {
    name: "slow-storage",
    storage_latency: Duration::from_millis(120),
    happen: |lab| {
        let request = write_secret(lab)?;
        ensure!(
            request.duration > Duration::from_millis(200),
            "{:?}: no storage is slow",
            request.duration
        );
        Ok(vec![request])
    },
    ..NOTHING
};

/// A plugin that waits for its own database, on a host that is not there: a connection attempt of the server itself,
/// and none to an audit device.
pub const SLOW_PLUGIN: State = State {
    name: "slow-plugin",
    prepare: |lab| mount(lab, "database"),
    happen: |lab| {
        let nobody = lab.network.logs[0].absent_address(Family::V4);
        let url = format!("postgresql://user:word@{nobody}:5432/db?connect_timeout=2");
        let database = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url,
        });
        let request = lab.client.put("/v1/database/config/lab", &database)?;
        ensure!(
            request.duration > SLOW,
            "{:?}: {}",
            request.duration,
            text(&request)
        );
        Ok(vec![request])
    },
    ..NOTHING
};

/// A client that does not read its answer.
pub const SLOW_CLIENT_READING: State = State {
    name: "slow-client-reading",
    prepare: |lab| {
        lab.client
            .write_secret("/v1/secret/data/big", &big_secret())?;
        Ok(Vec::new())
    },
    happen: |lab| {
        let mut stream = lab.client.stream()?;
        let head = "GET /v1/secret/data/big HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n";
        write!(stream, "{head}X-Vault-Token: {TOKEN}\r\n\r\n")?;
        std::thread::sleep(SLOW); // the client is what is slow here
        finish(stream)
    },
    ..NOTHING
};

/// A client that does not send its request.
pub const SLOW_CLIENT_SENDING: State = State {
    name: "slow-client-sending",
    prepare: |lab| wait_for_secrets(lab),
    happen: |lab| {
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
    },
    ..NOTHING
};

/// 8 MB, in strings as long as Vault takes them since 1.20.
pub fn big_secret() -> Value {
    let text = "x".repeat(1 << 19);
    let fields = (0..16).map(|number| (number.to_string(), json!(text)));
    json!({ "data": fields.collect::<Map<_, _>>() })
}

fn mount(lab: &Lab, kind: &str) -> Result<Vec<Measured>> {
    let path = format!("/v1/sys/mounts/{kind}");
    let request = lab.client.put(&path, &json!({ "type": kind }))?;
    is_ok(&request)?;
    Ok(vec![request])
}

fn small_secret() -> Value {
    json!({ "data": { "value": "small" } })
}

/// Until the server takes any.
fn wait_for_secrets(lab: &Lab) -> Result<Vec<Measured>> {
    lab.client
        .write_secret("/v1/secret/data/first", &small_secret())?;
    Ok(Vec::new())
}

fn write_secret(lab: &Lab) -> Result<Measured> {
    let request = lab.client.put("/v1/secret/data/small", &small_secret())?;
    is_ok(&request)?;
    Ok(request)
}

fn is_ok(request: &Measured) -> Result<()> {
    ensure!(request.status < 300, "{}: {}", request.path, text(request));
    Ok(())
}

fn text(request: &Measured) -> String {
    String::from_utf8_lossy(&request.body).into_owned()
}

/// Its client knows nothing of such a request but that it went well.
fn finish(mut stream: TcpStream) -> Result<Vec<Measured>> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    Ok(Vec::new())
}
