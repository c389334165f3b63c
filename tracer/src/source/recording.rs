//! The stored source: a recording made with `--record`, one event a line, perhaps compressed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use crate::event::{Event, FORMAT, What};

/// How every gzip member begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is read of the first line before anything is made of it: a format to come may have other events.
#[derive(Deserialize)]
struct Begin {
    #[serde(default)]
    format: u32,
}

/// Reads a recording. The first event must be the session, in a format that is known; a last line, or a last part of a
/// compressed one, that was cut short by a crash is passed over.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let file = File::open(path)
        .with_context(|| format!("cannot open the recording {}", path.display()))?;
    let lines = lines(BufReader::new(file))
        .with_context(|| format!("cannot read the recording {}", path.display()))?;
    if let Some(Ok(Begin { format })) = lines.first().map(|line| serde_json::from_str(line)) {
        ensure!(
            format <= FORMAT,
            "{} is a recording of format {format}, and this vault-tracer ({}) reads up to format {FORMAT}: update it",
            path.display(),
            env!("CARGO_PKG_VERSION"),
        );
    }
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

fn lines(mut file: BufReader<File>) -> io::Result<Vec<String>> {
    if !file.fill_buf()?.starts_with(&GZIP) {
        return file.lines().collect();
    }
    let mut lines = Vec::new();
    for line in BufReader::new(MultiGzDecoder::new(file)).lines() {
        match line {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            line => lines.push(line?),
        }
    }
    Ok(lines)
}

fn not_a_recording(path: &Path, line: usize) -> String {
    format!(
        "{}:{line} is no event of a recording: give a file made with `vault-tracer trace --record FILE`",
        path.display()
    )
}
