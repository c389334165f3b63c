//! What is exported, scraped by a real Prometheus, and what is shipped for it, checked by its `promtool`. Where they are not,
//! that is said.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    prometheus::{NEEDED, Programs, Prometheus},
    wait,
};
use serde_json::Value;
use test_support::replays;
use tracer::{
    sink::{Sink, Worker, metrics::Metrics},
    source::recording,
};
use tracer_core::Core;
use tracer_model::{Event, EventKind, Finding};

/// Scrapes come every second; the machine may be busy.
const SOON: Duration = Duration::from_secs(30);

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> PathBuf {
    here().join("../contrib").join(name)
}

/// `None`, having said so, where they are missing. Not by `eprintln!`, which a test that passes keeps to itself.
fn programs(test: &str) -> Result<Option<Programs>> {
    let programs = Programs::find();
    if programs.is_none() {
        writeln!(io::stderr(), "\nNOT RUN: {test} {NEEDED}\n")?;
    }
    Ok(programs)
}

#[test]
fn promtool_finds_nothing_wrong_with_what_is_exported() -> Result<()> {
    let Some(programs) = programs("promtool_finds_nothing_wrong_with_what_is_exported")? else {
        return Ok(());
    };
    for case in replays::names()? {
        let mut metrics = Metrics::new();
        let mut core = Core::new();
        for event in &recording::read(&replays::recording(&case))? {
            for finding in core.on(event).findings {
                metrics.write(&finding)?;
            }
            if event.what != EventKind::End {
                metrics.write(&Finding::Snapshot(Box::new(core.snapshot(event.at))))?;
            }
        }
        let text = metrics.exposition().text()?;
        let said = programs.promtool(&["check", "metrics"], &text)?;
        assert_eq!(said, "", "{case}");
    }
    Ok(())
}

#[test]
fn each_alert_is_shown_to_fire_and_not_to() -> Result<()> {
    let Some(programs) = programs("each_alert_is_shown_to_fire_and_not_to")? else {
        return Ok(());
    };
    let path = |name: &str| shipped(name).to_string_lossy().into_owned();
    programs.promtool(&["check", "rules", &path("prometheus/alerts.yml")], "")?;
    programs.promtool(&["test", "rules", &path("prometheus/alerts.test.yml")], "")?;
    Ok(())
}

/// All that the dashboard asks, with Grafana's variables put in as it does.
fn expressions() -> Result<Vec<String>> {
    let text = fs::read_to_string(shipped("grafana/dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let asked = targets.flatten().filter_map(|t| t["expr"].as_str());
    let asked: Vec<_> = asked
        .map(|expression| {
            expression
                .replace("$__rate_interval", "1m")
                .replace("$instance", ".*")
                .replace("$device", ".*")
        })
        .collect();
    ensure!(asked.len() > 10, "{asked:?}");
    let unknown = asked.iter().find(|expression| expression.contains('$'));
    ensure!(unknown.is_none(), "an unknown variable: {unknown:?}");
    Ok(asked)
}

/// As `promtool` sees it: each panel's expression as a rule of its own.
#[test]
fn every_expression_of_the_dashboard_is_one() -> Result<()> {
    let Some(programs) = programs("every_expression_of_the_dashboard_is_one")? else {
        return Ok(());
    };
    let numbered = expressions()?.into_iter().enumerate();
    let rule = |(number, expression)| {
        let name = format!("panel:{number}");
        serde_json::json!({"record": name, "expr": expression})
    };
    let rules: Vec<_> = numbered.map(rule).collect();
    let directory = tempfile::tempdir()?;
    // JSON is YAML too.
    let file = directory.path().join("rules.yml");
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(&file, groups.to_string())?;
    let file = file.to_string_lossy().into_owned();
    programs.promtool(&["check", "rules", &file], "")?;
    Ok(())
}

/// A recording, told as it happened up to a point, and from there to its end.
struct Told {
    core: Core,
    events: std::vec::IntoIter<Event>,
    worker: Worker<Finding>,
}

impl Told {
    /// Until `wanted` of what was found.
    fn until(&mut self, wanted: impl Fn(&Finding) -> bool) -> Result<()> {
        for event in self.events.by_ref() {
            let mut findings = self.core.on(&event).findings;
            let is_it = findings.iter().any(&wanted);
            findings.push(Finding::Snapshot(Box::new(self.core.snapshot(event.at))));
            for finding in findings {
                self.worker.send(&Arc::new(finding));
            }
            if is_it {
                return Ok(());
            }
        }
        anyhow::bail!("not in the recording")
    }
}

/// The last findings before a summary are told without a state: the trace has ended.
fn tell(case: &str) -> Result<(Told, SocketAddr)> {
    let (metrics, address) = Metrics::serve(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let told = Told {
        core: Core::new(),
        events: recording::read(&replays::recording(case))?.into_iter(),
        worker: Worker::spawn(metrics),
    };
    Ok((told, address))
}

#[test]
fn a_real_prometheus_sees_a_hang_while_it_lasts_and_what_it_was_afterwards() -> Result<()> {
    let name = "a_real_prometheus_sees_a_hang_while_it_lasts_and_what_it_was_afterwards";
    let Some(programs) = programs(name)? else {
        return Ok(());
    };
    // Recorded long ago: the shipped rules would not believe that it is now.
    let directory = tempfile::tempdir()?;
    let rules = directory.path().join("alerts.yml");
    let text = fs::read_to_string(shipped("prometheus/alerts.yml"))?;
    let fresh = "and on (job, instance) time() - vault_tracer_state_timestamp_seconds < 30";
    ensure!(text.contains(fresh), "the rules are others now");
    fs::write(&rules, text.replace(fresh, ""))?;

    let (mut told, address) = tell("convoy")?;
    told.until(|finding| matches!(finding, Finding::Session(_)))?;
    let prometheus = programs.scrape(address, &rules)?;
    let sum = |expression: &str, expected: f64| {
        let what = format!("{expression} to be {expected}");
        wait::until(&what, SOON, || {
            Ok(prometheus
                .sum(expression)?
                .filter(|sum| (sum - expected).abs() < 1e-6))
        })
    };
    sum("up{job=\"vault-tracer\"}", 1.0)?;
    sum("vault_tracer_build_info", 1.0)?;
    sum("vault_tracer_session_info", 1.0)?;
    assert!(prometheus.firing("VaultAuditDeviceHangs")?.is_empty());

    // Three queue behind one that has been stalled in the device, which others were before it.
    told.until(|finding| matches!(finding, Finding::Stalled(s) if s.waiting == 3 && s.blocked > 4_000_000_000))?;
    sum("vault_tracer_stalls_open", 1.0)?;
    sum("vault_tracer_requests_waiting", 3.0)?;
    let fires = wait::until("the alert to fire", SOON, || {
        Ok(prometheus.firing("VaultAuditDeviceHangs")?.pop())
    })?;
    assert_eq!(fires["labels"]["device"], "10.77.0.2:1515", "{fires}");
    assert_eq!(fires["labels"]["severity"], "critical", "{fires}");
    let says = fires["annotations"]["description"].to_string();
    ensure!(says.contains("(local_drop)"), "not why: {fires}");

    told.until(|finding| matches!(finding, Finding::Summary(_)))?;
    let hangs = "vault_tracer_hangs_total{cause=\"local_drop\"}";
    sum(hangs, 5.0)?;
    sum("vault_tracer_requests_blocked_total", 5.0)?;
    sum("vault_tracer_hang_duration_seconds_count", 5.0)?;
    sum("vault_tracer_stalls_open", 0.0)?;
    // Since it was there as 0 before, it has grown by all of them; by more, as Prometheus extrapolates.
    let grown = prometheus.sum(&format!("increase({hangs}[10m])"))?;
    ensure!(grown.is_some_and(|grown| grown >= 4.0), "{grown:?}");
    wait::until("the alert to end", SOON, || {
        Ok(prometheus
            .firing("VaultAuditDeviceHangs")?
            .is_empty()
            .then_some(()))
    })?;
    ensure!(
        !prometheus.firing("VaultAuditDeviceHung")?.is_empty(),
        "nothing told of what was"
    );
    shows(&prometheus)?;
    told.worker.finish()
}

/// Every panel has something to show of it, but those of what it had none of.
fn shows(prometheus: &Prometheus) -> Result<()> {
    for expression in expressions()? {
        let samples = prometheus.query(&expression)?;
        let none = [
            "refusals",
            "filling_warnings",
            "sink_missed",
            // Of a connection, and there was none any more.
            "send_buffer",
        ];
        let is_of_none = none.iter().any(|name| expression.contains(name));
        assert_eq!(samples.is_empty(), is_of_none, "{expression}");
    }
    Ok(())
}
