//! A summary of traces: read line by line, counted ([`aggregate`]), and written as text ([`text`]), as JSON
//! ([`summary`]), or as a page ([`html`]). What is kept does not grow with what is read.

pub mod aggregate;
pub mod devices;
pub mod file;
mod forwarded;
pub mod heavy;
pub mod html;
pub mod input;
mod percentiles;
pub mod requests;
pub mod summary;
pub mod text;
pub mod timeline;

use std::io::{self, BufRead};

use anyhow::{Context, Result, bail};

use self::aggregate::Aggregator;
use crate::lines::{Line, LineReader};

/// Longer than any record.
pub const LONGEST: usize = 1 << 20;

/// Reads a trace to its end. `name` is what the report calls it.
pub fn read(aggregator: &mut Aggregator, name: &str, input: impl BufRead) -> Result<()> {
    aggregator.begin(name.to_owned());
    let mut lines = LineReader::new(input, LONGEST);
    let mut found = false;
    loop {
        let number = lines.number() + 1;
        let line = lines
            .read()
            .with_context(|| format!("cannot read {name}: line {number}"))?;
        let Some(line) = line else { break };
        // Until one record was found, this may be another kind of file.
        if !found && let Line::Whole(line) | Line::Torn(line) = line {
            input::check(line).with_context(|| format!("{name} is not a trace"))?;
        }
        found |= take(aggregator, number, &line);
    }
    if !found {
        if let Some(damage) = &aggregator.file().trace.first_damaged {
            let (line, why) = (damage.line, &damage.why);
            bail!("{name} is not a trace: none of its lines is a whole record; line {line}: {why}");
        }
        bail!(
            "{name} is not a trace: it has no records; give a file made with `vault-tracer trace --output FILE`"
        );
    }
    aggregator.end();
    Ok(())
}

/// Whether it was a record.
fn take(aggregator: &mut Aggregator, number: u64, line: &Line<'_>) -> bool {
    match line {
        Line::Whole(line) if line.trim_ascii().is_empty() => false,
        Line::Whole(line) => match aggregator.line(line) {
            Ok(()) => true,
            Err(error) => {
                (aggregator.file()).damaged(number, || without_place(&error));
                false
            }
        },
        // Perhaps only its end is missing, and it is a record.
        Line::Torn(line) => {
            let is_record = aggregator.line(line).is_ok();
            aggregator.file().trace.torn |= !is_record;
            is_record
        }
        Line::TooLong => {
            let why = || format!("longer than {} kB", LONGEST / 1024);
            aggregator.file().damaged(number, why);
            false
        }
        Line::CutShort => {
            aggregator.file().trace.torn = true;
            false
        }
    }
}

/// `missing field ...`: which line of JSON's own counting does not matter, it is one.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let column = error.column();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(what, _)| what);
    format!("{text} (column {column})")
}

/// The report as JSON.
pub fn json(report: &summary::Report) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}
