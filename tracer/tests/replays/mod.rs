//! The recordings of `tests/replays`, for all tests that go through them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use tracer::source::recording;
use tracer_model::Event;

/// The directory of one.
pub(crate) fn of(name: &str) -> PathBuf {
    // From either package that has such tests.
    let replays = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/replays");
    Path::new(replays).join(name)
}

/// The names of all, in order.
pub(crate) fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(of(""))? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    ensure!(names.len() > 20, "{} recordings", names.len());
    names.sort();
    Ok(names)
}

/// What one holds.
pub(crate) fn events(name: &str) -> Result<Vec<Event>> {
    let compressed = of(name).join("recording.jsonl.gz");
    if compressed.exists() {
        return recording::read(&compressed);
    }
    recording::read(&of(name).join("recording.jsonl"))
}

/// All, by their names.
pub(crate) fn recordings() -> Result<Vec<(String, Vec<Event>)>> {
    let named = |name: String| {
        let events = events(&name)?;
        Ok((name, events))
    };
    names()?.into_iter().map(named).collect()
}
