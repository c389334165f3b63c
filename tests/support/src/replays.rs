//! The cases in `tests/replays`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

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

/// Checks that what `make` makes of each of these cases is in its `file`, and that no other case has such a file.
/// `UPDATE_REPLAYS=1` writes the files first.
///
/// # Panics
///
/// If one differs.
pub fn assert_expected(
    file: &str,
    cases: &[&str],
    make: impl Fn(&str) -> Result<String>,
) -> Result<()> {
    for case in cases {
        let actual = make(case)?;
        let path = directory(case).join(file);
        if env::var_os("UPDATE_REPLAYS").is_some() {
            fs::write(&path, &actual)?;
        }
        let expected = fs::read_to_string(&path);
        let expected = expected.with_context(|| format!("cannot read {}", path.display()))?;
        assert_eq!(actual, expected, "{case}");
    }
    for case in names()? {
        let is_there = directory(&case).join(file).exists();
        assert_eq!(is_there, cases.contains(&case.as_str()), "{case}");
    }
    Ok(())
}
