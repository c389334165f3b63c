//! Whether hangs are of requests that were blocked.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{client_times::duration, truth::SEEN};
use serde_json::Value;

use super::load::Answered;

/// The least hang that is reported.
const THRESHOLD: Duration = Duration::from_millis(100);

/// Whether it can be true. One without a name, or of a request that was never answered, is no longer than any request.
pub(crate) fn check(hang: &Value, requests: &[Answered]) -> Result<()> {
    let is_own = |request: &&Answered| {
        request.id.is_some() && request.id.as_deref() == hang["request"]["id"].as_str()
    };
    let own = requests.iter().find(is_own);
    let longest = requests.iter().map(|request| request.took).max();
    let limit = own.map(|own| own.took).or(longest).unwrap_or_default();
    for (what, length) in [
        ("it", duration(hang)),
        ("its request", duration(&hang["request"])),
    ] {
        let may = limit + SEEN;
        ensure!(
            own.is_none() || length <= may,
            "{what}: {length:?} of {limit:?}: {hang}"
        );
    }
    let Some(own) = own else { return Ok(()) };
    ensure!(
        own.took + SEEN >= THRESHOLD,
        "its client was not blocked: {own:?}: {hang}"
    );
    let start: Timestamp = hang["start"].as_str().context("no start")?.parse()?;
    let start = Duration::from_nanos(start.as_nanosecond() as u64);
    let began = own.started.duration_since(SystemTime::UNIX_EPOCH)?;
    ensure!(
        start + SEEN >= began && start <= began + own.took,
        "not within its request: {own:?}: {hang}"
    );
    Ok(())
}
