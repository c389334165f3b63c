//! Each case shows what its README claims.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::Value;
use tracer_model::{Event, EventKind, Nanos};

use crate::case::{Case, replay, to_lines};

/// A case that shows nothing any more, for example since what it is about was cut out of it, proves nothing.
#[test]
fn every_recording_shows_what_its_readme_claims() -> Result<()> {
    for case in Case::all()? {
        let records: Vec<Value> = to_lines(&replay(&case.events))?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        for (key, value) in case.claims()? {
            let shown = show(&case, &records, &key, &value);
            let shown = shown.with_context(|| format!("{}: {key}={value}", case.name()))?;
            assert_eq!(shown, value, "{key} of {}", case.name());
        }
    }
    Ok(())
}

/// What the case shows of this claim, in the claim's own words.
fn show(case: &Case, records: &[Value], key: &str, value: &str) -> Result<String> {
    let of_type = |kind: &'static str| records.iter().filter(move |record| record["type"] == kind);
    Ok(match key {
        "hangs" => of_type("hang").count().to_string(),
        // The first of each outage is a record, the others are counted.
        "refusals" => of_type("summary")
            .map(|summary| summary["refusals"].to_string())
            .collect(),
        "incidents" => of_type("incident").count().to_string(),
        "lost_entries" => of_type("lost_entries").count().to_string(),
        "warnings" => of_type("filling").count().to_string(),
        "refused_by" => list(of_type("refusal").map(|refusal| &refusal["cause"])),
        "outcomes" => list(
            of_type("hang")
                .flat_map(stalls)
                .map(|stall| &stall["outcome"]),
        ),
        "causes" => list(of_type("hang").map(|hang| &hang["cause"])),
        "ties" => list(of_type("hang").map(|hang| &hang["request"]["tie"])),
        "stalls" => list(of_type("hang").flat_map(stalls).map(|stall| &stall["op"])),
        "requests" => of_type("summary")
            .map(|summary| summary["requests"].to_string())
            .collect(),
        // At least so long, not exactly.
        "longest_pause_ms" => {
            let longest = longest_pause(&case.events) / 1_000_000;
            longest.min(value.parse()?).to_string()
        }
        _ => anyhow::bail!("nobody knows this claim"),
    })
}

fn stalls(hang: &Value) -> impl Iterator<Item = &Value> {
    hang["stalls"].as_array().into_iter().flatten()
}

fn list<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    let words: Vec<_> = values.filter_map(Value::as_str).collect();
    words.join(",")
}

/// The longest time in which nothing happened on a client's connection between two transfers, ns.
fn longest_pause(events: &[Event]) -> Nanos {
    let mut last = HashMap::new();
    let pauses = events.iter().filter_map(|event| match &event.what {
        EventKind::Send { socket, .. } | EventKind::Receive { socket, .. } if socket.accepted => {
            last.insert(socket.id, event.at)
                .map(|before| event.at - before)
        }
        _ => None,
    });
    pauses.max().unwrap_or(0)
}
