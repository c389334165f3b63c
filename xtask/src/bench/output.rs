//! What is left of a bench: `target/bench`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    figures::Measurement,
    machine::Machine,
    plot,
    summary::{Row, Summary},
    table,
    targets::Target,
};
use crate::run::give_to_user;

/// All of it, for other programs.
#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    variants: Vec<&'a Summary>,
    not_run: Vec<NotRun<'a>>,
    targets: &'a [Target],
    measurements: &'a [Measurement],
}

#[derive(Serialize)]
struct NotRun<'a> {
    variant: &'a str,
    reason: &'a str,
}

/// Prints the tables, and writes them with the raw figures and the picture into `directory`.
pub fn tell(
    directory: &Path,
    machine: &Machine,
    rows: &[Row],
    targets: &[Target],
    measurements: &[Measurement],
) -> Result<()> {
    let tables = table::tables(rows);
    let verdicts = table::of_targets(targets);
    let tables = || tables.iter().chain([&verdicts]);
    let text: Vec<_> = tables().map(table::Table::text).collect();
    println!("{}\n\n{}", machine.text(), text.join("\n"));
    let markdown: Vec<_> = tables().map(table::Table::markdown).collect();
    let markdown = format!("{}\n\n{}", machine.text(), markdown.join("\n"));
    let report = Report {
        machine,
        variants: rows.iter().filter_map(Row::summary).collect(),
        not_run: rows.iter().filter_map(not_run).collect(),
        targets,
        measurements,
    };
    let caption = format!(
        "{} cores, Linux {}, {}, {} clients, {} rounds",
        machine.cores, machine.kernel, machine.server, machine.clients, machine.rounds
    );
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    give_to_user(directory)?;
    for (name, content) in [
        ("bench.md", markdown),
        ("bench.json", serde_json::to_string_pretty(&report)? + "\n"),
        ("bench.svg", plot::svg(rows, &caption)),
    ] {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        give_to_user(&path)?;
        println!("bench: {}", path.display());
    }
    Ok(())
}

fn not_run(row: &Row) -> Option<NotRun<'_>> {
    let reason = row.trouble()?;
    Some(NotRun {
        variant: row.variant.name,
        reason,
    })
}
