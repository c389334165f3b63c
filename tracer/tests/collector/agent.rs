//! The agent, run on a recording.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{Span, Status},
};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// What the agent does at the end of a trace at most, and some time to start and to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// A recording of `tests/replays`.
pub(crate) fn recording(case: &str) -> PathBuf {
    crate::replays::of(case).join("recording.jsonl")
}

/// A span with what is said of its server.
pub(crate) type Told = (Option<Resource>, Option<InstrumentationScope>, Span);

/// All spans, in their order. No status is the same as an unset one: the wire does not tell them apart.
pub(crate) fn spans(requests: impl IntoIterator<Item = ExportTraceServiceRequest>) -> Vec<Told> {
    let mut told = Vec::new();
    for of_server in requests.into_iter().flat_map(|r| r.resource_spans) {
        for of_scope in of_server.scope_spans {
            for mut span in of_scope.spans {
                span.status = Some(span.status.unwrap_or_else(Status::default));
                let (resource, scope) = (of_server.resource.clone(), of_scope.scope.clone());
                told.push((resource, scope, span));
            }
        }
    }
    told
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

/// What that holds.
pub(crate) fn expected(case: &str) -> Result<Vec<Told>> {
    let lines = file(case)?;
    let requests: Vec<_> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let spans = spans(requests);
    ensure!(!spans.is_empty(), "no spans of {case}");
    Ok(spans)
}

/// One that runs.
pub(crate) struct Agent {
    child: Child,
    started: Instant,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// One that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) took: Duration,
}

/// The environment of the machine is not the test's.
pub(crate) fn command(case: &str, endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault-tracer"));
    command
        .arg("replay")
        .arg(recording(case))
        .args(["--quiet", "--otlp-endpoint", endpoint]);
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
        let said = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().context("not piped")?);
        let reader = thread::spawn({
            let said = Arc::clone(&said);
            move || collect(lines, &said)
        });
        Ok(Self {
            child,
            started,
            said,
            reader: Some(reader),
        })
    }

    /// Waits until it says this.
    pub(crate) fn says(&self, text: &str) -> Result<()> {
        let said = || {
            self.said
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
            .said
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
