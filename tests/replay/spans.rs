//! Recordings as OpenTelemetry spans.

use std::{
    collections::HashSet,
    env, fs,
    io::{self, Seek, Write},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer::sink::otlp::{self, spans::Spans};
use tracer_model::Finding;

use crate::case::{Case, replay};

/// Recordings whose spans are expected too: those that are there, and no others.
const AS_SPANS: [&str; 5] = [
    "convoy",
    "filling-warning",
    "lost-entries",
    "udp-dead-port",
    "zero-window",
];

fn to_spans(findings: &[Finding]) -> Result<String> {
    let mut spans = Spans::default();
    let mut text = String::new();
    for finding in findings {
        text.extend(otlp::line(&mut spans, finding)?.map(|line| line + "\n"));
    }
    Ok(text)
}

#[test]
fn recordings_replay_to_the_spans_that_are_expected() -> Result<()> {
    let cases = Case::all()?;
    let mut seen = Vec::new();
    for case in &cases {
        let name = case.directory.file_name().and_then(|name| name.to_str());
        let name = name.context("a case without a name")?;
        if !AS_SPANS.contains(&name) {
            continue;
        }
        seen.push(name);
        let actual = to_spans(&replay(&case.events))?;
        if env::var_os("UPDATE_REPLAYS").is_some() {
            fs::write(case.directory.join("expected.otlp.json"), &actual)?;
        }
        assert_eq!(actual, case.read("expected.otlp.json")?, "{name}");
    }
    assert_eq!(seen, AS_SPANS);
    Ok(())
}

/// By protobuf's own JSON, which knows nothing of our crates, and of every recording: one span of an id, parents that
/// are there, a client's span for each hang and refusal.
#[test]
fn spans_are_read_by_another_implementation() -> Result<()> {
    for case in Case::all()? {
        let findings = replay(&case.events);
        let Some(spans) = read_by_python(&to_spans(&findings)?)? else {
            // Not by `eprintln!`, which a test that passes keeps to itself.
            let why = "needs python3 with opentelemetry-proto (pip install opentelemetry-proto)";
            writeln!(
                io::stderr(),
                "\nNOT RUN: spans_are_read_by_another_implementation {why}\n"
            )?;
            return Ok(());
        };
        let ids: HashSet<_> = spans.iter().map(|s| s["id"].to_string()).collect();
        assert_eq!(ids.len(), spans.len(), "{}: an id twice", case.name());
        for span in &spans {
            let is_root = span["parent"] == "";
            let has_parent = ids.contains(&span["parent"].to_string());
            assert!(is_root || has_parent, "{}: {span}", case.name());
            assert_eq!(span["scope"], "vault-tracer");
        }
        let named = |name| spans.iter().filter(move |span| span["name"] == name);
        let of = |is: fn(&Finding) -> bool| findings.iter().filter(|f| is(f)).count();
        let hangs = of(|finding| matches!(finding, Finding::Hang(_)));
        let refusals = of(|f| matches!(f, Finding::Refusal(refusal) if refusal.before == 0));
        let incidents = of(|finding| matches!(finding, Finding::Incident(_)));
        assert_eq!(named("audit hang").count(), hangs, "{}", case.name());
        assert_eq!(named("audit refusal").count(), refusals, "{}", case.name());
        assert_eq!(
            named("audit incident").count(),
            incidents,
            "{}",
            case.name()
        );
        for hang in named("audit hang") {
            // Kind CLIENT, status ERROR, as numbers of the protocol.
            assert_eq!((&hang["kind"], &hang["status"]), (&3.into(), &2.into()));
            assert!(hang["attributes"]["error.type"].is_string(), "{hang}");
        }
        assert_eq!(named("session").count(), 1, "{}", case.name());
    }
    Ok(())
}

/// `None` if there is no Python that could.
fn read_by_python(text: &str) -> Result<Option<Vec<Value>>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("read_otlp.py");
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    let output = Command::new("python3").arg(script).stdin(file).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    if output.status.code() == Some(77) {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "not read: {said}");
    let lines = String::from_utf8(output.stdout)?;
    let spans = lines.lines().map(serde_json::from_str);
    Ok(Some(spans.collect::<Result<_, _>>()?))
}
