//! The agent, run on a recording.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use test_support::replays::recording;
use tracer::sink::otlp::messages::ExportTraceServiceRequest;

/// Time limit of a wait; nothing takes as long on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// More than the agent waits for a sink at the end of a trace, 5 s, and a busy machine takes to start and to end it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A span with its resource and scope, in OTLP's JSON.
pub(crate) type WholeSpan = (Value, Value, Value);

/// All spans, in their order.
pub(crate) fn spans(
    requests: impl IntoIterator<Item = ExportTraceServiceRequest>,
) -> Vec<WholeSpan> {
    let requests = requests.into_iter();
    let requests = requests.map(|request| serde_json::to_value(request).expect("JSON"));
    requests.flat_map(|request| spans_in(&request)).collect()
}

/// All spans of a request. An absent status becomes an unset one: in protobuf they are the same.
fn spans_in(request: &Value) -> Vec<WholeSpan> {
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let mut whole = Vec::new();
    for of_server in list(&request["resourceSpans"]) {
        for of_scope in list(&of_server["scopeSpans"]) {
            for mut span in list(&of_scope["spans"]) {
                if span["status"].is_null() {
                    span["status"] = json!({ "message": "", "code": 0 });
                }
                let (resource, scope) = (of_server["resource"].clone(), of_scope["scope"].clone());
                whole.push((resource, scope, span));
            }
        }
    }
    whole
}

/// The trace file of a recording: a line a finding.
pub(crate) fn file(case: &str) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
        .arg("replay")
        .arg(recording(case))
        .args(["--quiet", "--format", "otlp", "--output", "-"])
        .output()?;
    ensure!(output.status.success(), "no trace of {case}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The spans of that file.
pub(crate) fn expected(case: &str) -> Result<Vec<WholeSpan>> {
    let mut spans = Vec::new();
    for line in file(case)?.lines() {
        spans.extend(spans_in(&serde_json::from_str(line)?));
    }
    ensure!(!spans.is_empty(), "no spans of {case}");
    Ok(spans)
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    started: Instant,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// An agent that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) took: Duration,
}

/// Without messages of success.
pub(crate) fn command(case: &str, endpoint: &str) -> Command {
    let mut command = reporting(case, endpoint);
    command.arg("--quiet");
    command
}

/// With them, and without the environment's own headers.
pub(crate) fn reporting(case: &str, endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault-tracer"));
    command
        .arg("replay")
        .arg(recording(case))
        .args(["--otlp-endpoint", endpoint]);
    for name in ["HEADERS", "TRACES_HEADERS"] {
        command.env_remove(format!("OTEL_EXPORTER_OTLP_{name}"));
    }
    command
}

impl Agent {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().context("not piped")?);
        let reader = thread::spawn({
            let stderr = Arc::clone(&stderr);
            move || collect(lines, &stderr)
        });
        Ok(Self {
            child,
            started,
            stderr,
            reader: Some(reader),
        })
    }

    /// Waits until its standard error contains this.
    pub(crate) fn says(&self, text: &str) -> Result<()> {
        let said = || {
            self.stderr
                .lock()
                .map(|said| said.clone())
                .unwrap_or_default()
        };
        wait_until(&format!("the agent says {text:?}"), || {
            said().contains(text)
        })
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Result<Ended> {
        let mut status = None;
        wait_until("the agent ends", || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        let took = self.started.elapsed();
        if let Some(reader) = self.reader.take() {
            reader.join().ok().context("nobody read")?;
        }
        let said = self
            .stderr
            .lock()
            .map(|said| said.clone())
            .unwrap_or_default();
        Ok(Ended {
            code: status.and_then(|status| status.code()),
            said,
            took,
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut lines: BufReader<impl Read>, said: &Mutex<String>) {
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if let Ok(mut said) = said.lock() {
            said.push_str(&line);
        }
        line.clear();
    }
}

/// Waits for a condition, and fails if it never comes.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > LIMIT {
            bail!("waited for {LIMIT:?} until {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
