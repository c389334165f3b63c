//! The stored source: a recording made with `--record`, one event a line, perhaps compressed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use tracer_model::{Event, EventKind, FORMAT};

/// How every gzip member begins (RFC 1952, 2.3.1).
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The part of the first line that every format has: a newer one may have other events.
#[derive(Deserialize)]
struct Begin {
    #[serde(default)]
    format: u32,
    /// Of a trace: the type of its record.
    #[serde(rename = "type")]
    record: Option<String>,
}

/// Reads a recording. The first event must be the session, in a known format. A last line that a crash cut short is
/// ignored, as is a truncated gzip member at the end.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    read_through(path, |file| file)
}

/// The same through a reader that wraps the file, for example to count bytes.
pub fn read_through<R: Read>(path: &Path, through: impl FnOnce(File) -> R) -> Result<Vec<Event>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open the recording {name}"))?;
    let lines = lines(BufReader::new(through(file)));
    let mut lines = lines.with_context(|| format!("cannot read the recording {name}"))?;
    let mut events = Vec::new();
    let mut next = || {
        let line = lines.next().transpose();
        line.with_context(|| format!("cannot read the recording {name}"))
    };
    while let Some(line) = next()? {
        if events.is_empty() {
            check_format(path, &line)?;
        }
        match serde_json::from_str::<Event>(&line) {
            Ok(event) => events.push(event),
            Err(_) if !events.is_empty() && next()?.is_none() => break,
            Err(error) if events.is_empty() => {
                return Err(error).with_context(|| not_a_recording(path));
            }
            Err(error) => {
                let line = events.len() + 1;
                return Err(error)
                    .with_context(|| format!("{name} is damaged: line {line} is not an event"));
            }
        }
    }
    let begins = events.first().map(|event| &event.what);
    ensure!(
        matches!(begins, Some(EventKind::Session(_))),
        not_a_recording(path)
    );
    Ok(events)
}

type BoxedLines<'a> = Box<dyn Iterator<Item = io::Result<String>> + 'a>;

fn lines<'a>(mut file: BufReader<impl Read + 'a>) -> io::Result<BoxedLines<'a>> {
    if !file.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(file.lines()));
    }
    let lines = BufReader::new(MultiGzDecoder::new(file)).lines();
    let is_whole = |line: &io::Result<String>| !matches!(line, Err(error) if error.kind() == io::ErrorKind::UnexpectedEof);
    Ok(Box::new(lines.take_while(is_whole)))
}

/// Fails if the first line is a record of a trace, or declares a newer format than [`FORMAT`].
fn check_format(path: &Path, first: &str) -> Result<()> {
    if let Ok(Begin { format, record }) = serde_json::from_str(first) {
        ensure!(
            record.is_none(),
            "{0} is a trace, not a recording: `vault-tracer report {0}` summarises it",
            path.display()
        );
        ensure!(
            format <= FORMAT,
            "{} is a recording of format {format}, and this vault-tracer ({}) reads up to format {FORMAT}: update it",
            path.display(),
            env!("CARGO_PKG_VERSION"),
        );
    }
    Ok(())
}

fn not_a_recording(path: &Path) -> String {
    format!(
        "{} is not a recording: give a file made with `vault-tracer trace --record FILE`",
        path.display()
    )
}
