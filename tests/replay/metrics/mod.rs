//! Recordings of real servers as metrics: the exposition (`expected.metrics.txt`; `UPDATE_REPLAYS=1` writes it), that it
//! agrees with the trace, and that the documentation lists it.

mod shipped;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use test_support::replays;
use tracer::sink::{Sink, metrics::Metrics};
use tracer::source::recording;
use tracer_core::Core;
use tracer_model::{EventKind, Finding};

/// Recordings whose metrics are expected: those that are there, and no others.
const EXPECTED: [&str; 4] = [
    "filling-warning",
    "lost-entries",
    "two-devices",
    "udp-dead-port",
];

/// The findings of a recording, with a snapshot after each event.
fn findings(name: &str) -> Result<Vec<Finding>> {
    let events = recording::read(&replays::recording(name))?;
    let mut core = Core::new();
    let findings = events.iter().flat_map(|event| {
        let mut findings = core.on(event).findings;
        if event.what != EventKind::End {
            findings.push(Finding::Snapshot(Box::new(core.snapshot(event.at))));
        }
        findings
    });
    Ok(findings.collect())
}

fn exposition(findings: &[Finding]) -> Result<String> {
    let mut metrics = Metrics::new();
    for finding in findings {
        metrics.write(finding)?;
    }
    metrics.exposition().text()
}

/// Sorts the series of a family by their labels, and buckets by their bounds. Of an empty histogram only the count is kept.
fn sorted(text: &str) -> String {
    let mut sorted = Vec::new();
    let mut family: Vec<&str> = Vec::new();
    let settle = |family: &mut Vec<&str>, sorted: &mut Vec<String>| {
        family.sort_by_key(|line| key(line));
        let empty: BTreeSet<_> = family.iter().filter_map(|line| empty(line)).collect();
        family.retain(|line| line.contains("_count{") || !empty.contains(&key(line).0));
        sorted.extend(family.drain(..).map(str::to_owned));
    };
    for line in text.lines() {
        if line.starts_with('#') {
            settle(&mut family, &mut sorted);
            sorted.push(line.to_owned());
        } else {
            family.push(line);
        }
    }
    settle(&mut family, &mut sorted);
    sorted.join("\n") + "\n"
}

/// The labels of a histogram, if this is its count and 0.
fn empty(line: &str) -> Option<String> {
    let is_one = line.contains("_count{") && line.ends_with(" 0");
    is_one.then(|| key(line).0)
}

fn key(line: &str) -> (String, String, u64) {
    let (series, _) = line.rsplit_once(' ').unwrap_or((line, ""));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let (labels, bound) = labels.split_once("le=\"").unwrap_or((labels, "0\""));
    let bound = bound.split('"').next().and_then(|le| le.parse().ok());
    let bound: f64 = bound.unwrap_or(f64::INFINITY);
    let labels = labels.trim_end_matches(['}', ',']);
    (labels.to_owned(), name.to_owned(), bound.to_bits())
}

#[test]
fn recordings_replay_to_the_metrics_that_are_expected() -> Result<()> {
    replays::assert_expected("expected.metrics.txt", &EXPECTED, |name| {
        let text = exposition(&findings(name)?)?;
        // Of whatever version.
        Ok(sorted(&text).replace(env!("CARGO_PKG_VERSION"), "VERSION"))
    })
}

/// The sum of all series of this name.
fn sum(text: &str, name: &str) -> Result<f64> {
    let of_name = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    let values = of_name.map(|line| {
        let (_, value) = line.rsplit_once(' ').context("no value")?;
        Ok(value.parse::<f64>()?)
    });
    values.sum()
}

#[test]
fn metrics_agree_with_the_trace() -> Result<()> {
    for name in replays::names()? {
        let findings = findings(&name)?;
        let text = exposition(&findings)?;
        let counted = |of: fn(&Finding) -> Option<f64>| findings.iter().filter_map(of).sum::<f64>();
        let hangs = counted(|f| matches!(f, Finding::Hang(_)).then_some(1.0));
        let seconds = counted(|finding| match finding {
            Finding::Hang(hang) => Some(hang.duration as f64 / 1e9),
            _ => None,
        });
        let stalls = counted(|finding| match finding {
            Finding::Hang(hang) => Some(hang.stalls.len() as f64),
            _ => None,
        });
        let bytes = counted(|finding| match finding {
            Finding::LostEntries(loss) => Some(loss.bytes as f64),
            _ => None,
        });
        let told = counted(|f| matches!(f, Finding::Stalled(_)).then_some(1.0));
        let refusals = counted(|f| matches!(f, Finding::Refusal(_)).then_some(1.0));
        let requests = counted(|finding| match finding {
            Finding::Summary(summary) => Some(summary.requests as f64),
            _ => None,
        });
        let writes = counted(|finding| match finding {
            Finding::Summary(summary) => Some(summary.audit_writes as f64),
            _ => None,
        });
        for (series, expected) in [
            ("hangs_total", hangs),
            ("hang_duration_seconds_count", hangs),
            ("hang_duration_seconds_sum", seconds),
            ("stall_duration_seconds_count", stalls),
            ("stalls_total", told),
            ("refusals_total", refusals),
            ("lost_bytes_total", bytes),
            ("requests_total", requests),
            ("audit_writes_total", writes),
        ] {
            let exported = sum(&text, &format!("vault_tracer_{series}"))?;
            assert!(
                (exported - expected).abs() < 1e-6,
                "{name}: {series} {exported}"
            );
        }
        let of_requests: BTreeSet<_> = findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Hang(hang) => Some((hang.request.client, hang.request.start)),
                _ => None,
            })
            .collect();
        let blocked = sum(&text, "vault_tracer_requests_blocked_total")?;
        assert_eq!(blocked as usize, of_requests.len(), "{name}");
    }
    Ok(())
}

/// A hang shows in all gauges while it lasts, and no longer.
#[test]
fn an_open_stall_shows_in_the_gauges() -> Result<()> {
    let findings = findings("convoy")?;
    let mut metrics = Metrics::new();
    let mut most = BTreeMap::new();
    let mut text = String::new();
    for finding in &findings {
        metrics.write(finding)?;
        text = metrics.exposition().text()?;
        for name in [
            "stalls_open",
            "requests_waiting",
            "requests_held_up",
            "stall_age_seconds",
        ] {
            let now = sum(&text, &format!("vault_tracer_{name}"))?;
            let most = most.entry(name).or_insert(now);
            *most = most.max(now);
        }
    }
    let hangs = findings.iter().filter_map(|finding| match finding {
        Finding::Hang(hang) => Some(hang),
        _ => None,
    });
    let start = hangs.clone().map(|hang| hang.start).min();
    let end = hangs.clone().map(|hang| hang.end).max();
    let longest = hangs.map(|hang| hang.duration).max();
    let (start, end) = start.zip(end).context("no hang")?;
    let longest = longest.unwrap_or_default() as f64 / 1e9;
    let all = (end - start) as f64 / 1e9;
    // Four clients at once, as the case says: one in the device, three behind it.
    let counts = ["stalls_open", "requests_waiting", "requests_held_up"];
    assert_eq!(counts.map(|name| most[name] as u64), [1, 3, 4]);
    let age = most["stall_age_seconds"];
    assert!(longest <= age && age <= all, "{longest} {age} {all}");
    for name in ["stalls_open", "requests_waiting", "stall_age_seconds"] {
        let now = sum(&text, &format!("vault_tracer_{name}"))?;
        assert!(now.abs() < f64::EPSILON, "{name}: {now}");
    }
    Ok(())
}

/// The buffer of a device that acknowledges nothing, before requests hang.
#[test]
fn a_filling_send_buffer_shows_in_the_gauges() -> Result<()> {
    let mut metrics = Metrics::new();
    let (mut fullest, mut is_told) = (0.0_f64, false);
    for finding in findings("filling-warning")? {
        metrics.write(&finding)?;
        let text = metrics.exposition().text()?;
        let limit = sum(&text, "vault_tracer_send_buffer_limit_bytes")?;
        if limit > 0.0 {
            let filled = sum(&text, "vault_tracer_send_buffer_bytes")?;
            fullest = fullest.max(filled / limit);
        }
        is_told |= text.contains("condition=\"filling\"} 1\n");
    }
    // The second warning comes at 80 %.
    assert!(fullest > 0.8, "{fullest}");
    assert!(is_told, "never in the condition filling");
    Ok(())
}

/// Everybody may be able to scrape the metrics.
#[test]
fn requests_are_not_exported() -> Result<()> {
    for name in replays::names()? {
        let findings = findings(&name)?;
        let text = exposition(&findings)?;
        for finding in &findings {
            let Finding::Hang(hang) = finding else {
                continue;
            };
            let request = &hang.request;
            let client = request.client.map(|client| client.to_string());
            for secret in [&request.id, &request.path, &client].into_iter().flatten() {
                assert!(
                    !text.contains(secret.as_str()),
                    "{name}: {secret} in {text}"
                );
            }
        }
    }
    Ok(())
}
