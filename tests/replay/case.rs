//! The cases in `tests/replays`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use lab::truth;
use test_support::replays;
use tracer::{
    sink::{jsonl, wall::WallClock},
    source::recording,
};
use tracer_model::{Event, Finding};

/// Small enough to be read by people; larger ones are compressed.
pub(crate) const LARGEST: u64 = 150_000;

/// A directory of `tests/replays`.
pub(crate) struct Case {
    pub(crate) directory: PathBuf,
    pub(crate) recording: PathBuf,
    pub(crate) events: Vec<Event>,
}

impl Case {
    pub(crate) fn all() -> Result<Vec<Self>> {
        let names = replays::names()?;
        names.iter().map(|name| Self::open(name)).collect()
    }

    pub(crate) fn open(name: &str) -> Result<Self> {
        let recording = replays::recording(name);
        Ok(Self {
            directory: replays::directory(name),
            events: recording::read(&recording)?,
            recording,
        })
    }

    /// Recorded of a real Vault, whose clients measured (`truth.json`): it cannot be recorded anew.
    pub(crate) fn truth(&self) -> Result<Option<truth::Recorded>> {
        if !self.directory.join("truth.json").exists() {
            return Ok(None);
        }
        truth::Recorded::parse(&self.read("truth.json")?).map(Some)
    }

    pub(crate) fn name(&self) -> String {
        self.directory.display().to_string()
    }

    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let path = self.directory.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// `key=value` words of the README's line that begins with `Claims:`.
    pub(crate) fn claims(&self) -> Result<Vec<(String, String)>> {
        let readme = self.read("README.md")?;
        let line = readme.lines().find_map(|line| line.strip_prefix("Claims:"));
        let line =
            line.with_context(|| format!("{}: no line `Claims: ...` in README.md", self.name()))?;
        let words = line.split_whitespace().map(|word| {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("no claim: {word}"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        words.collect()
    }
}

pub(crate) fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Finding> {
    tracer_core::replay(events).collect()
}

pub(crate) fn to_lines(findings: &[Finding]) -> Result<String> {
    let mut clock = WallClock::default();
    let mut text = String::new();
    for finding in findings {
        if let Finding::Session(session) = finding {
            clock = WallClock::of(session);
        }
        text.extend(jsonl::line(finding, clock)?.map(|line| line + "\n"));
    }
    Ok(text)
}
