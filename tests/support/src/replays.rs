//! The cases in `tests/replays`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

/// The directory of a case.
pub fn directory(case: &str) -> PathBuf {
    let replays = concat!(env!("CARGO_MANIFEST_DIR"), "/../replays");
    Path::new(replays).join(case)
}

/// The names of all cases, in order.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory(""))? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    ensure!(names.len() > 20, "{} recordings", names.len());
    names.sort();
    Ok(names)
}

/// The recording of a case: large ones are compressed.
pub fn recording(case: &str) -> PathBuf {
    let compressed = directory(case).join("recording.jsonl.gz");
    if compressed.exists() {
        return compressed;
    }
    directory(case).join("recording.jsonl")
}
