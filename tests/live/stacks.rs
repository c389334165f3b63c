//! What the goroutines of a blocked server wait for: asked without a trace, and the server goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Tracer, scenario::BIG_REQUEST, server::usual_tie, tracer::agent_from_environment, wait};
use serde_json::Value;

use crate::outage::{DEFAULT_TIMEOUT, lab_with};

const CLIENTS: usize = 4;
/// Four of them wait for each other, two dials for each entry.
const LIMIT: Duration = Duration::from_secs(30);

fn stacks(pid: u32, arguments: &[&str]) -> Result<String> {
    let pid = pid.to_string();
    let arguments = [&["stacks", "--pid", &pid], arguments].concat();
    let trace = Tracer::run(&agent_from_environment()?, &arguments)?.finish()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    Ok(trace.terminal)
}

/// How many requests wait like this for an audit device.
fn blocked(report: &Value, wait: &str) -> u64 {
    let groups = report["audit"].as_array().into_iter().flatten();
    let of = groups.filter(|group| group["wait"] == wait);
    of.filter_map(|group| group["requests"].as_u64()).sum()
}

#[test]
fn stacks_names_the_device_and_counts_who_waits_and_the_server_goes_on() -> Result<()> {
    let lab = lab_with(lab::Family::V4, DEFAULT_TIMEOUT)?;
    let pid = lab.server.pid();
    let healthy = stacks(pid, &["--all"])?;
    let begins = "No request waits for an audit device.";
    assert!(healthy.starts_with(begins), "{healthy}");
    assert!(
        healthy.contains("\n    net/http.(*Server).Serve"),
        "{healthy}"
    );
    assert!(healthy.contains(": IO wait"), "{healthy}");

    let (fault, _) = lab.cut_off()?;
    let paths = [BIG_REQUEST; CLIENTS];
    let client = &lab.client;
    let (report, text, answers) = std::thread::scope(|scope| -> Result<_> {
        let answers = scope.spawn(|| client.get_each(&paths));
        // One of them may be between two dials.
        let report = wait::until("one to dial and the others to queue", LIMIT, || {
            let report: Value = serde_json::from_str(&stacks(pid, &["--format", "json"])?)?;
            let waits = (blocked(&report, "connect"), blocked(&report, "lock"));
            let is_so = report["requests"] == CLIENTS && waits == (1, CLIENTS as u64 - 1);
            Ok(is_so.then_some(report))
        })?;
        let text = stacks(pid, &[])?;
        fault.lift()?;
        let answers = answers.join().ok().context("the clients panicked")??;
        Ok((report, text, answers))
    })?;
    let first = text.lines().next().unwrap_or_default();
    let device = format!("(tcp {}).", lab.log_address());
    assert!(
        first.contains(" wait for the audit device ") && first.ends_with(&device),
        "{text}"
    );
    let groups = report["audit"].as_array().context("no groups")?;
    // By their IDs, each client's request is one of them.
    let waiting = groups
        .iter()
        .filter_map(|group| group["waiting"].as_array());
    let waiting: Vec<_> = waiting
        .flatten()
        .map(|request| request["id"].as_str())
        .collect();
    for answer in &answers {
        assert!(
            waiting.contains(&answer.request_id.as_deref()),
            "{report:#}"
        );
    }
    if usual_tie()? == "goroutine" {
        // The mutex says since when each queues.
        let queued = groups.iter().filter(|group| group["wait"] == "lock");
        for group in queued {
            assert_eq!(group["longest_is_lower_bound"], false, "{group:#}");
        }
    }
    ensure!(
        !client.get(BIG_REQUEST)?.hung(),
        "the server does not go on"
    );
    assert_eq!(lab.server.pid(), pid);
    Ok(())
}
