//! Alert rules, dashboard and documentation use the names of the exported metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tracer::sink::{Sink, metrics::Metrics};

use super::findings;
use test_support::replays;

/// The table of metrics is in this page, between these lines.
const PAGE: &str = "docs/metrics.md";
const TABLE: [&str; 2] = [
    "<!-- metrics: made by tests/replay/metrics -->\n",
    "<!-- metrics: end -->\n",
];

/// An exported family.
#[derive(Debug, Default)]
struct Exported {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The families of all recordings, by name.
fn families() -> Result<BTreeMap<String, Exported>> {
    let mut families = BTreeMap::new();
    for name in replays::names()? {
        let mut metrics = Metrics::new();
        let exposition = metrics.exposition();
        exposition.add_sink("trace", Arc::default());
        for finding in findings(&name)? {
            metrics.write(&finding)?;
        }
        read(&exposition.text()?, &mut families)?;
    }
    Ok(families)
}

fn read(text: &str, families: &mut BTreeMap<String, Exported>) -> Result<()> {
    for line in text.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
            }
            ["#", "TYPE", name, kind] => {
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            }
            _ => {
                let (name, rest) = line.split_at(line.find(['{', ' ']).context("no value")?);
                let family = families.get_mut(stem(name, families));
                let family = family.with_context(|| format!("of no family: {line}"))?;
                // No value of ours has these in it.
                let labels = rest
                    .split(['{', ','])
                    .filter_map(|part| part.split_once("=\""));
                let names = labels.map(|(name, _)| name.to_owned());
                family.labels.extend(names.filter(|name| name != "le"));
            }
        }
    }
    Ok(())
}

/// The family that a series is of: those of a histogram have names of their own.
fn stem<'a>(name: &'a str, families: &BTreeMap<String, Exported>) -> &'a str {
    let mut ends = ["_bucket", "_count", "_sum"].into_iter();
    let stem = ends.find_map(|end| name.strip_suffix(end));
    let is_histogram = |stem: &&str| families.get(*stem).is_some_and(|f| f.kind == "histogram");
    stem.filter(is_histogram).unwrap_or(name)
}

/// Names of our metrics in a text, without the suffixes of histograms.
fn named<'a>(text: &'a str, families: &BTreeMap<String, Exported>) -> BTreeSet<&'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices("vault_tracer_").map(|(at, _)| at);
    let names = starts.map(|at| {
        let rest = &text[at..];
        &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())]
    });
    names.map(|name| stem(name, families)).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn shipped(name: &str) -> Result<String> {
    let path = path(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[test]
fn alerts_and_dashboard_name_what_is_exported() -> Result<()> {
    let families = families()?;
    for file in [
        "contrib/prometheus/alerts.yml",
        "contrib/prometheus/alerts.test.yml",
        "contrib/grafana/dashboard.json",
    ] {
        let text = shipped(file)?;
        let named = named(&text, &families);
        assert!(named.len() > 5, "{file}: {named:?}");
        for name in named {
            assert!(families.contains_key(name), "{file}: no {name}");
        }
    }
    Ok(())
}

#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> Result<()> {
    let rules = shipped("contrib/prometheus/alerts.yml")?;
    let tests = shipped("contrib/prometheus/alerts.test.yml")?;
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        let not = format!("alertname: {alert} }}\n");
        assert!(tests.contains(&fires), "{alert} never fires");
        assert!(tests.contains(&not), "{alert} always fires");
    }
    Ok(())
}

#[test]
fn the_dashboard_is_one() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&shipped("contrib/grafana/dashboard.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<_> = panels.iter().filter_map(|p| p["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "an id twice, or none");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().context("no title")?;
        let of = |key: &str| panel["gridPos"][key].as_u64().context("no place");
        let (x, y, w, h) = (of("x")?, of("y")?, of("w")?, of("h")?);
        assert!(x + w <= 24, "{title} is too wide");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().context("no targets")?;
        let references: BTreeSet<_> = targets.iter().map(|t| t["refId"].to_string()).collect();
        assert!(!targets.is_empty(), "{title}");
        assert_eq!(references.len(), targets.len(), "{title}");
    }
    let variables = dashboard["templating"]["list"].as_array();
    let variables = variables.context("no variables")?.iter();
    let names: Vec<_> = variables.filter_map(|v| v["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "instance", "device"]);
    Ok(())
}

/// Each family, in the order of their names. `UPDATE_REPLAYS=1` writes them.
#[test]
fn the_documentation_lists_what_is_exported() -> Result<()> {
    let families = families()?;
    let mut table = "| name | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for (name, family) in &families {
        let labels: Vec<_> = family.labels.iter().map(|l| format!("`{l}`")).collect();
        let (kind, labels) = (&family.kind, labels.join(", "));
        let help = family.help.trim_end_matches('.');
        table += &[&format!("`{name}`"), kind, &labels, help]
            .map(|cell| format!("| {cell} "))
            .concat();
        table += "|\n";
    }
    let page = shipped(PAGE)?;
    let (before, rest) = page.split_once(TABLE[0]).context("no table")?;
    let (written, after) = rest.split_once(TABLE[1]).context("no end of the table")?;
    if env::var_os("UPDATE_REPLAYS").is_some() {
        let whole = [before, TABLE[0], &table, TABLE[1], after].concat();
        fs::write(path(PAGE), whole)?;
    } else {
        assert_eq!(written, table);
    }
    Ok(())
}
