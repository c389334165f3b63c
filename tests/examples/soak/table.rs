//! What came of each fault.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use anyhow::{Context, Result};

use super::faults::Fault;

/// Between these the page has its table.
const BEGIN: &str = "<!-- made by: cargo xtask soak -->\n";
const END: &str = "<!-- end -->\n";

/// Of one fault.
#[derive(Default)]
pub(crate) struct Row {
    times: usize,
    failures: usize,
}

impl Row {
    pub(crate) fn of(ended: &Result<String>) -> Self {
        Self {
            times: 1,
            failures: usize::from(ended.is_err()),
        }
    }
}

#[derive(Default)]
pub(crate) struct Table(BTreeMap<Fault, Row>);

impl Table {
    pub(crate) fn add(&mut self, fault: Fault, row: &Row) {
        let all = self.0.entry(fault).or_default();
        all.times += row.times;
        all.failures += row.failures;
    }

    pub(crate) fn failures(&self) -> usize {
        self.0.values().map(|row| row.failures).sum()
    }

    pub(crate) fn text(&self, seed: u64, minutes: f64, requests: usize) -> String {
        let mut text = format!(
            "Seed {seed}, {minutes} minutes, {requests} requests.\n\n| fault | expected | times | otherwise |\n|---|---|--:|--:|\n"
        );
        for fault in Fault::ALL {
            let (times, failures) = self
                .0
                .get(&fault)
                .map_or((0, 0), |row| (row.times, row.failures));
            let (name, expected) = (fault.name(), fault.expected());
            let _ = writeln!(text, "| {name} | {expected} | {times} | {failures} |");
        }
        text
    }
}

pub(crate) fn update(page: &Path, made: &str) -> Result<()> {
    let text = fs::read_to_string(page)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.context("the page has no place for the table")?;
    fs::write(page, format!("{before}{BEGIN}{made}{END}{after}"))?;
    Ok(())
}
