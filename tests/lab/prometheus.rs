//! A real Prometheus, to scrape with, and its `promtool`, to check with. Not every host has them.

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{process::Process, wait};

/// The directory that has both; `PATH` if it is not set.
pub const VARIABLE: &str = "VAULT_TRACER_PROMETHEUS";

/// What a test that needs them says where they are not.
pub const NEEDED: &str =
    "needs prometheus and promtool (Debian: prometheus; `cargo xtask test` unpacks it)";

/// As short as makes sense: tests wait for scrapes.
const INTERVAL: &str = "1s";

const START_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    directory: PathBuf,
}

/// A server that scrapes one target, with its data in a directory of its own.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Programs {
    /// Those of this host, if it has both.
    pub fn find() -> Option<Self> {
        let path = env::var_os(VARIABLE).or_else(|| env::var_os("PATH"))?;
        let has_both = |directory: &PathBuf| {
            let mut names = ["prometheus", "promtool"].into_iter();
            names.all(|name| directory.join(name).is_file())
        };
        let directory = env::split_paths(&path).find(has_both)?;
        Some(Self { directory })
    }

    /// Runs `promtool` with this on its standard input; what it said, if it was content.
    pub fn promtool(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(self.directory.join("promtool"));
        command.args(arguments).stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start promtool")?;
        let mut stdin = child.stdin.take().context("no pipe")?;
        // What does not read, needs nothing.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(
            output.status.success(),
            "promtool {arguments:?} ({}): {said}",
            output.status
        );
        Ok(said)
    }

    /// Starts the server; returns once it answers. `rules`: a file of alert rules.
    pub fn scrape(&self, target: SocketAddr, rules: &Path) -> Result<Prometheus> {
        let directory = tempfile::tempdir()?;
        let file = |name: &str| directory.path().join(name);
        fs::write(file("prometheus.yml"), configuration(target, rules))?;
        let log = fs::File::create(file("log"))?;
        let mut command = Command::new(self.directory.join("prometheus"));
        command
            .arg(format!(
                "--config.file={}",
                file("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", file("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut process = Process::spawn("prometheus", &mut command)?;
        let address = wait::until("prometheus to listen", START_LIMIT, || {
            let said = fs::read_to_string(file("log"))?;
            if let Some(status) = process.exited()? {
                bail!("prometheus ended at once ({status}): {said}");
            }
            Ok(listens_on(&said))
        })?;
        let server = Prometheus {
            address,
            _process: process,
            _directory: directory,
        };
        wait::until("prometheus to be ready", START_LIMIT, || {
            Ok(get(address, "/-/ready", &[]).ok())
        })?;
        Ok(server)
    }
}

fn configuration(target: SocketAddr, rules: &Path) -> String {
    format!(
        "global:\n  scrape_interval: {INTERVAL}\n  evaluation_interval: {INTERVAL}\n\
         rule_files:\n  - {rules}\n\
         scrape_configs:\n  - job_name: vault-tracer\n    static_configs:\n      - targets: ['{target}']\n",
        rules = rules.display()
    )
}

/// The address that the server chose, as it says in its log.
fn listens_on(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("Listening on"))?;
    let (_, address) = line.rsplit_once("address=")?;
    address.trim().parse().ok()
}

impl Prometheus {
    /// The samples that an expression gives now: labels and value.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let query = format!("/api/v1/query?query={}", escaped(expression));
        let answer: Value = serde_json::from_str(&get(self.address, &query, &[])?)?;
        let result = answer["data"]["result"].as_array();
        let result = result.with_context(|| format!("{expression}: {answer}"))?;
        let samples = result.iter().map(|sample| {
            let value = sample["value"][1].as_str().context("no value")?;
            Ok((sample["metric"].clone(), value.parse()?))
        });
        samples.collect()
    }

    /// The sum of these samples; `None` if there are none.
    pub fn sum(&self, expression: &str) -> Result<Option<f64>> {
        let samples = self.query(expression)?;
        let values = samples.iter().map(|(_, value)| value);
        Ok((!samples.is_empty()).then(|| values.sum()))
    }

    /// Alerts by this name that fire now.
    pub fn firing(&self, name: &str) -> Result<Vec<Value>> {
        let answer: Value = serde_json::from_str(&get(self.address, "/api/v1/alerts", &[])?)?;
        let alerts = answer["data"]["alerts"].as_array().context("no alerts")?;
        let fires =
            |alert: &&Value| alert["labels"]["alertname"] == name && alert["state"] == "firing";
        Ok(alerts.iter().filter(fires).cloned().collect())
    }
}

/// What is not a letter or a digit, by its number (RFC 3986, 2.1).
fn escaped(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// The body of what is at this address, which is to be a success.
pub fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    // 1.0: it is closed behind the answer, which then comes in one piece.
    let first = format!("GET {path} HTTP/1.0");
    let host = format!("Host: {address}");
    let mut lines = vec![first.as_str(), &host];
    lines.extend(headers);
    stream.write_all((lines.join("\r\n") + "\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1);
    ensure!(status == Some("200"), "{path}: {head} {body}");
    Ok(body.to_owned())
}
