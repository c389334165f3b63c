//! What `doctor` says of this very host, and that it is what a trace then does.

use std::fs;

use anyhow::Result;
use lab::{Trace, Tracer, tracer::agent_from_environment};
use serde_json::Value;

use crate::outage::{attach, lab};

fn doctor(arguments: &[&str]) -> Result<Trace> {
    Tracer::run(
        &agent_from_environment()?,
        &[&["doctor"], arguments].concat(),
    )?
    .finish()
}

fn json(trace: &Trace) -> Result<Value> {
    Ok(serde_json::from_str(&trace.terminal)?)
}

/// Whether the doctor answers one of these checks with yes.
pub(crate) fn says_yes_to(names: &[&str]) -> Result<bool> {
    let report = json(&doctor(&["--format", "json"])?)?;
    let checks = report["checks"].as_array().map_or(&[][..], Vec::as_slice);
    let mut asked = checks
        .iter()
        .filter(|check| names.iter().any(|name| check["name"] == *name));
    Ok(asked.any(|check| check["answer"] == "yes"))
}

/// How something is seen.
fn way<'a>(report: &'a Value, what: &str) -> &'a Value {
    let probes = report["probes"].as_array().map_or(&[][..], Vec::as_slice);
    let seen = probes.iter().find(|seen| seen["what"] == what);
    seen.unwrap_or(&Value::Null)
}

#[test]
fn the_doctor_says_yes_and_a_trace_attaches_what_it_named() -> Result<()> {
    let lab = lab()?;
    let pid = lab.server.pid().to_string();
    let trace = doctor(&["--pid", &pid, "--format", "json"])?;
    assert!(trace.status.success(), "{}", trace.stderr);
    let report = json(&trace)?;
    assert_eq!(report["traceable"], true, "{report:#}");
    let server = &report["server"];
    assert_eq!(server["pid"], lab.server.pid());
    assert_eq!(server["stacks"], true, "{server}");
    assert_eq!(server["goroutine_ids"], "its debugging information");

    let tracer = attach(&lab, &["--probes", "auto"])?;
    let trace = tracer.stop()?;
    let attached = trace.records[0]["probes"].as_array().map_or(0, Vec::len);
    let hooks = report["probes"].as_array().map_or(&[][..], Vec::as_slice);
    let named: Vec<_> = hooks
        .iter()
        .filter_map(|seen| seen["hooks"].as_array())
        .flatten()
        .collect();
    let session = trace.records[0]["probes"].to_string();
    for hook in &named {
        assert!(
            session.contains(&hook.to_string()),
            "no {hook} in {session}"
        );
    }
    assert!(attached >= named.len(), "{session} and {named:?}");
    Ok(())
}

#[test]
fn the_doctor_names_the_way_and_fits_on_a_screen() -> Result<()> {
    let trace = doctor(&[])?;
    assert!(trace.status.success(), "{}", trace.stderr);
    let text = &trace.terminal;
    // For who looks at a guest of `cargo xtask vm`.
    println!("{text}");
    assert!(text.contains("This host can be traced."), "{text}");
    assert!(text.lines().count() <= 50, "{text}");
    let sends = text
        .lines()
        .find(|line| line.starts_with("sends and receives"));
    let report = json(&doctor(&["--format", "json"])?)?;
    let by = way(&report, "sends and receives")["by"].to_string();
    assert!(
        sends.unwrap_or_default().contains(by.trim_matches('"')),
        "{text}"
    );
    // The socket layer's tracepoints are the first choice wherever they are.
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let has_them = symbols.contains(" __traceiter_sock_send_length");
    assert_eq!(by == "\"socket\"", has_them, "{by}");
    Ok(())
}

#[test]
fn the_doctor_reports_an_ordinary_user_that_permission_is_missing() -> Result<()> {
    let agent = agent_from_environment()?;
    let trace = Tracer::run_unprivileged(&agent, &["doctor", "--format", "json"])?;
    assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
    assert_eq!(trace.stderr.lines().count(), 1, "{}", trace.stderr);
    assert!(trace.stderr.contains("CAP_BPF"), "{}", trace.stderr);
    assert!(trace.stderr.contains("root"), "{}", trace.stderr);
    let report = json(&trace)?;
    assert_eq!(report["traceable"], false);
    let sends = way(&report, "sends and receives");
    let ways = sends["ways"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |name: &str| ways.iter().find(|way| way["way"] == name).cloned();
    // There all the same: what is missing is permission.
    let forbidden = of("all syscalls").unwrap_or_default();
    assert_eq!(forbidden["verdict"], "forbidden", "{sends:#}");
    Ok(())
}

#[test]
fn the_doctor_says_which_server_is_none() -> Result<()> {
    let trace = doctor(&["--pid", "2147483647"])?;
    assert_eq!(trace.status.code(), Some(1));
    assert!(
        trace.stderr.contains("no process has PID 2147483647"),
        "{}",
        trace.stderr
    );
    assert!(
        trace.terminal.contains("server: none: "),
        "{}",
        trace.terminal
    );
    Ok(())
}
