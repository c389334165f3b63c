//! Compressed recordings.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use tracer::{
    sink::{Worker, line_file::LineFile, recording::Recording},
    source::recording,
};
use tracer_model::Event;

use crate::case::Case;

/// Events written to a file as `--record` does, and what it then holds.
fn recorded(events: &[Event], path: &Path) -> Result<Vec<u8>> {
    let mut sink = Worker::spawn(Recording::new(LineFile::create(path)?));
    for event in events {
        sink.send(&Arc::new(event.clone()));
    }
    sink.finish()?;
    Ok(fs::read(path)?)
}

#[test]
fn a_compressed_recording_is_the_same_and_readable_up_to_where_it_was_cut() -> Result<()> {
    let events: Vec<_> = Case::all()?
        .into_iter()
        .flat_map(|case| case.events)
        .collect();
    let directory = tempfile::tempdir()?;
    let [plain, path] = ["events.jsonl", "events.jsonl.gz"].map(|name| directory.path().join(name));
    let bytes = recorded(&events, &path)?;
    let size = recorded(&events, &plain)?.len();
    assert!(bytes.len() * 5 < size, "{} of {size} bytes", bytes.len());
    assert!(recording::read(&path)? == events, "not what was written");

    let mut known = 0;
    for tenths in [1, 5, 9] {
        fs::write(&path, &bytes[..bytes.len() * tenths / 10])?;
        let read = recording::read(&path).with_context(|| format!("cut at {tenths}/10"))?;
        assert!(
            events.starts_with(&read),
            "cut at {tenths}/10: other events"
        );
        assert!(read.len() > known, "cut at {tenths}/10: {known} as before");
        known = read.len();
    }

    let mut torn = bytes;
    let middle = torn.len() / 2;
    torn[middle..middle + 64].fill(0xff);
    fs::write(&path, torn)?;
    let error = recording::read(&path).expect_err("what is no gzip was read");
    // What is no gzip may also give some bytes, that are no events.
    let error = format!("{error:#}");
    assert!(
        error.starts_with("cannot read the recording") || error.contains("is damaged"),
        "{error}"
    );
    Ok(())
}
