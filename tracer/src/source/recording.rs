//! The stored source: a recording made with `--record`, one event a line.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use crate::event::{Event, What};

/// Reads a recording. The first event must be the session; a last line that was cut short by a
/// crash is passed over.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let file = File::open(path)
        .with_context(|| format!("cannot open the recording {}", path.display()))?;
    let lines: Vec<String> = BufReader::new(file)
        .lines()
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot read the recording {}", path.display()))?;
    let mut events = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str::<Event>(line) {
            Ok(event) => events.push(event),
            Err(_) if index > 0 && index + 1 == lines.len() => break,
            Err(error) => {
                return Err(error).with_context(|| not_a_recording(path, index + 1));
            }
        }
    }
    let begins = events.first().map(|event| &event.what);
    ensure!(
        matches!(begins, Some(What::Session(_))),
        not_a_recording(path, 1)
    );
    Ok(events)
}

fn not_a_recording(path: &Path, line: usize) -> String {
    format!(
        "{}:{line} is no event of a recording: give a file made with `vault-tracer trace --record FILE`",
        path.display()
    )
}
