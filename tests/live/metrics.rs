//! `--metrics`: the real agent's endpoint, and a real Prometheus that scrapes it while the server hangs.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    Family, Tracer,
    prometheus::{NEEDED, Programs, Prometheus, get},
    scenario::BIG_REQUEST,
    tracer::agent_from_environment,
    wait,
};

use crate::outage::{DEFAULT_TIMEOUT, attach, lab, lab_with};

const SOON: Duration = Duration::from_secs(20);
const ANY_PORT: &str = "127.0.0.1:0";

/// Where the agent says that its metrics are.
fn endpoint(tracer: &Tracer) -> Result<SocketAddr> {
    let said = tracer.stderr();
    let address = said.lines().find_map(|line| {
        let rest = line.strip_prefix("metrics at http://")?;
        rest.strip_suffix("/metrics")
    });
    Ok(address
        .with_context(|| format!("nowhere: {said}"))?
        .parse()?)
}

/// The sum of all series of this name, as of now; 0 where there are none.
fn sum(endpoint: SocketAddr, name: &str) -> Result<f64> {
    let text = get(endpoint, "/metrics", &[])?;
    let ours = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    let values = ours.map(|line| {
        let (_, value) = line.rsplit_once(' ').context("no value")?;
        Ok(value.parse::<f64>()?)
    });
    values.sum()
}

fn scrape(endpoint: SocketAddr) -> Result<Option<Prometheus>> {
    let Some(programs) = Programs::find() else {
        let test = "metrics::a_hang_shows_while_it_lasts_and_is_counted_when_it_is_over";
        // Not by `eprintln!`, which a test that passes keeps to itself.
        writeln!(
            io::stderr(),
            "\nNOT RUN: {test}, as far as Prometheus goes: {NEEDED}\n"
        )?;
        return Ok(None);
    };
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/prometheus/alerts.yml");
    programs.scrape(endpoint, &rules).map(Some)
}

#[test]
fn a_hang_shows_while_it_lasts_and_is_counted_when_it_is_over() -> Result<()> {
    let lab = lab_with(Family::V4, DEFAULT_TIMEOUT)?;
    let device = lab.log_address().to_string();
    let tracer = attach(&lab, &["--metrics", ANY_PORT, "--audit", &device])?;
    let endpoint = endpoint(&tracer)?;
    let named = format!("vault_tracer_hangs_total{{device=\"{device}\",");
    wait::until("the device, which has not hung", SOON, || {
        Ok(get(endpoint, "/metrics", &[])?
            .contains(&named)
            .then_some(()))
    })?;
    let prometheus = scrape(endpoint)?;
    if let Some(prometheus) = &prometheus {
        wait::until("a scrape", SOON, || {
            prometheus.sum("vault_tracer_session_info")
        })?;
        ensure!(
            prometheus.firing("VaultAuditDeviceHangs")?.is_empty(),
            "too early"
        );
    }

    // With the device cut off each request takes four dials of 2 s.
    let (fault, _) = lab.cut_off()?;
    let hanging = lab.client.get_in_background(BIG_REQUEST);
    let stalled = |limit: f64| {
        wait::until("the stall", SOON, || {
            let open = sum(endpoint, "vault_tracer_stalls_open")?;
            let age = sum(endpoint, "vault_tracer_stall_age_seconds")?;
            Ok((open > 0.5 && age > limit).then_some(age))
        })
    };
    let first = stalled(0.1)?;
    ensure!(stalled(first + 0.5)? > first, "it does not grow");
    if let Some(prometheus) = &prometheus {
        let alert = wait::until("the alert", SOON, || {
            Ok(prometheus.firing("VaultAuditDeviceHangs")?.pop())
        })?;
        assert_eq!(alert["labels"]["device"], device, "{alert}");
    }
    ensure!(!hanging.is_finished(), "shown when it was over");
    hanging.join().expect("the client panicked")?;
    fault.lift()?;
    lab.client.get(BIG_REQUEST)?;

    wait::until("all to be over and counted", SOON, || {
        let told = tracer.records()?;
        let hangs: Vec<_> = told.iter().filter(|r| r["type"] == "hang").collect();
        let nanos: u64 = hangs.iter().filter_map(|h| h["duration_ns"].as_u64()).sum();
        let seconds = sum(endpoint, "vault_tracer_hang_duration_seconds_sum")?;
        let counted = sum(endpoint, "vault_tracer_hangs_total")?;
        let is_same =
            counted as usize == hangs.len() && (seconds - nanos as f64 / 1e9).abs() < 1e-6;
        let is_over = sum(endpoint, "vault_tracer_stalls_open")? < 0.5
            && told.iter().any(|record| record["type"] == "incident");
        Ok((hangs.len() == 2 && is_same && is_over).then_some(()))
    })?;
    if let Some(prometheus) = &prometheus {
        wait::until("what was counted to be scraped", SOON, || {
            let counted = prometheus.sum("vault_tracer_hangs_total")?;
            let over = prometheus.firing("VaultAuditDeviceHangs")?.is_empty();
            Ok((over && counted.is_some_and(|sum| sum > 1.5)).then_some(()))
        })?;
    }
    let trace = tracer.stop()?;
    assert!(trace.status.success(), "{}", trace.stderr);
    assert_eq!(trace.hangs().len(), 2, "{}", trace.text);
    Ok(())
}

/// The twin: a server that does well, whose requests the kernel side counts while it buffers.
#[test]
fn while_all_is_well_requests_are_counted_and_nothing_else() -> Result<()> {
    let lab = lab()?;
    let tracer = attach(&lab, &["--metrics", ANY_PORT])?;
    let endpoint = endpoint(&tracer)?;
    let before = sum(endpoint, "vault_tracer_requests_total")?;
    for _ in 0..5 {
        lab.client.get(BIG_REQUEST)?;
    }
    wait::until("five requests", SOON, || {
        let requests = sum(endpoint, "vault_tracer_requests_total")?;
        let writes = sum(endpoint, "vault_tracer_audit_writes_total")?;
        Ok((requests - before > 4.5 && writes > 9.5).then_some(()))
    })?;
    for name in [
        "hangs_total",
        "stalls_total",
        "stalls_open",
        "refusals_total",
        "requests_blocked",
        "events_lost_total",
        "sink_missed_records_total",
    ] {
        let counted = sum(endpoint, &format!("vault_tracer_{name}"))?;
        assert!(counted.abs() < f64::EPSILON, "{name}: {counted}");
    }
    let trace = tracer.stop()?;
    assert_eq!(trace.summary()?["requests"], 5, "{}", trace.text);
    Ok(())
}

#[test]
fn an_address_in_use_is_one_line_before_anything_is_attached() -> Result<()> {
    let lab = lab()?;
    let taken = TcpListener::bind(ANY_PORT)?;
    let address = taken.local_addr()?.to_string();
    let pid = lab.server.pid().to_string();
    let agent = agent_from_environment()?;
    let trace = Tracer::run(&agent, &["trace", "--pid", &pid, "--metrics", &address])?.finish()?;
    assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
    assert_eq!(trace.stderr.lines().count(), 1, "{}", trace.stderr);
    assert!(trace.stderr.contains(&address), "{}", trace.stderr);
    assert!(trace.stderr.contains("in use"), "{}", trace.stderr);
    assert_eq!(trace.terminal, "");
    Ok(())
}
