//! The commands of README and docs that need a server, as they are written there.

use std::{collections::BTreeSet, fs, process::Command, thread};

use anyhow::{Result, ensure};
use lab::{Tracer, tracer::agent_from_environment};
use test_support::documentation::{Call, Page, calls, pages};

use crate::outage::lab;

/// So many at once.
const AT_ONCE: usize = 4;

#[test]
fn every_documented_trace_runs() -> Result<()> {
    let lab = lab()?;
    let pid = lab.server.pid().to_string();
    let traces = traces(&pid)?;
    ensure!(traces.len() > 5, "only {traces:?}");
    let traces: Vec<_> = traces.into_iter().collect();
    for some in traces.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let all: Vec<_> = some.iter().map(|one| scope.spawn(|| run(one))).collect();
            all.into_iter()
                .try_for_each(|one| one.join().expect("it panicked"))
        })?;
    }
    Ok(())
}

fn run(arguments: &[String]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    // For the flight recorder.
    fs::create_dir(directory.path().join("vault-tracer"))?;
    let mut command = Command::new(agent_from_environment()?);
    command.args(arguments).current_dir(directory.path());
    let trace = Tracer::spawn(&mut command)?.finish()?;
    ensure!(trace.status.success(), "{arguments:?}: {}", trace.stderr);
    Ok(())
}

/// Arguments of each documented trace, of the server with this PID and for a moment. A collector is tested elsewhere.
fn traces(pid: &str) -> Result<BTreeSet<Vec<String>>> {
    let mut traces = BTreeSet::new();
    for line in pages()?.iter().flat_map(Page::command_lines) {
        for call in calls(&line)? {
            let Call::Agent(arguments) = call else {
                continue;
            };
            let is_trace = arguments.first().is_some_and(|word| word == "trace");
            if is_trace && !arguments.iter().any(|word| word == "--otlp-endpoint") {
                traces.insert(of_server(&arguments, pid));
            }
        }
    }
    Ok(traces)
}

fn of_server(arguments: &[String], pid: &str) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--pid" | "--process" | "--port" | "--duration" => {
                words.next();
            }
            // The documented port may be in use.
            "--metrics" => {
                words.next();
                kept.extend(["--metrics".to_owned(), "0".to_owned()]);
            }
            // Directories of a service.
            path if path.starts_with('/') => {
                let name = path.rsplit('/').next().unwrap_or_default();
                kept.push(name.to_owned());
            }
            _ => kept.push(word.clone()),
        }
    }
    kept.extend(["--pid", pid, "--duration", "500ms"].map(ToOwned::to_owned));
    kept
}
