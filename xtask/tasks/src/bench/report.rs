//! The report of a bench: tables on standard output and in `target/bench`, raw figures beside them.

use std::{
    fmt::Write, fs, path::Path, process::Command, thread::available_parallelism, time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    measurement::Measurement,
    summary::{FIGURES, Figure, Summary},
    targets::Target,
    workload::REQUEST,
};
use crate::{root::give_to_user, ui::Step};

const LIMIT: Duration = Duration::from_secs(20);

/// Everything, for other programs.
#[derive(Serialize)]
pub struct Report<'a> {
    /// The machine, the server and the load.
    pub setting: String,
    pub variants: &'a [Summary],
    pub targets: &'a [Target],
    pub measurements: &'a [Measurement],
}

/// Describes the machine and the server, before the bench loads them.
pub fn setting(bao: &Path, clients: usize, rounds: usize, seconds: f64) -> Result<String> {
    let mut version = Command::new(bao);
    let server = Step::new("bench", "the server").output(
        "reading its version",
        version.arg("version"),
        LIMIT,
    )?;
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = file("/proc/cpuinfo");
    let mut models = processors
        .lines()
        .filter_map(|line| line.strip_prefix("model name\t: "));
    Ok(format!(
        "{cores} cores ({model}), Linux {kernel}, {server}, load average {load} before.\n\
         {clients} keep-alive connections with GET {REQUEST}; a file and a healthy socket device.\n\
         {rounds} rounds; in each, every variant is measured for {seconds} s between two measurements of the untraced server.\n\
         Ratios are to those two; shown are the median of all rounds and, in brackets, the range of the middle half.",
        cores = available_parallelism()?,
        model = models.next().unwrap_or("unknown"),
        kernel = file("/proc/sys/kernel/osrelease").trim(),
        server = server.split(" (").next().unwrap_or_default().trim(),
        load = file("/proc/loadavg").split(' ').next().unwrap_or_default(),
    ))
}

impl Report<'_> {
    /// Prints the tables, and writes them and the raw figures into `directory`.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let text = format!(
            "{}\n\n{}\n{}",
            self.setting,
            table(&of_variants(self.variants)),
            table(&of_targets(self.targets))
        );
        println!("{text}");
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        give_to_user(directory)?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        for (name, content) in [("bench.md", text), ("bench.json", json)] {
            let path = directory.join(name);
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
            give_to_user(&path)?;
            println!("bench: {}", path.display());
        }
        Ok(())
    }
}

fn of_variants(summaries: &[Summary]) -> Vec<Vec<String>> {
    let headings = FIGURES.iter().map(|figure| figure.heading);
    let head = ["variant"].into_iter().chain(headings).chain(["reports"]);
    let mut rows = vec![head.map(str::to_owned).collect()];
    for summary in summaries {
        let name = || summary.name.to_owned();
        let cell = |figure: &Figure| {
            let spread = summary.figures.get(figure.name);
            spread.map_or_else(|| "-".to_owned(), |spread| figure.summary_text(spread))
        };
        if summary.rounds > 0 {
            let cells = FIGURES.iter().map(cell);
            let reports = summary.variant.reports.to_owned();
            rows.push([name()].into_iter().chain(cells).chain([reports]).collect());
        }
        if let Some(reason) = &summary.failure {
            rows.push(vec![
                name(),
                format!("NOT RUN after {} rounds: {reason}", summary.rounds),
            ]);
        }
    }
    rows
}

fn of_targets(targets: &[Target]) -> Vec<Vec<String>> {
    let mut rows = vec![["target", "found", "verdict"].map(str::to_owned).into()];
    rows.extend(targets.iter().map(|target| {
        let verdict = target.verdict.text().to_owned();
        vec![target.text.clone(), target.found.clone(), verdict]
    }));
    rows
}

/// Markdown, aligned for a terminal. The first row is the head; a row with fewer cells does not widen columns.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter(|row| row.len() == columns)
            .map(|row| &row[column]);
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            let cell = cell.replace('|', "\\|");
            let _ = write!(text, "| {cell:<width$} ");
        }
        text += "|\n";
        if number == 0 {
            text += &("|---".repeat(columns) + "|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{
            measurement::samples::measurement, rounds::Measurements, summary::summaries, variants,
        },
        *,
    };

    #[test]
    fn a_variant_that_did_not_run_is_in_the_table() {
        let mut variants = variants::all();
        variants.retain(|variant| ["socket", "strace"].contains(&variant.name));
        let results = Measurements {
            all: vec![measurement("socket", 0, 990)],
            failures: BTreeMap::from([("strace", "no | apt".to_owned())]),
        };
        let text = table(&of_variants(&summaries(&variants, &results)));
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let lines: Vec<_> = lines.collect();
        let socket = "| socket | 0.990 (0.99-0.99) | 990 | 1.00 | 1.000 (1.00-1.00) | 100.0 | 0.5 | 10.5 | 2.0 | 8.0 | 150 | 200 | 2 | 0 | hangs, causes, requests |";
        assert_eq!(lines[2], socket);
        assert_eq!(lines[3], "| strace | NOT RUN after 0 rounds: no \\| apt |");
    }
}
