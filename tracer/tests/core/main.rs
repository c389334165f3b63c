//! The core on recordings, simulated servers and made-up stories, with normal traffic streamed, and buffered by a model of the
//! programs; and what decoding makes of any bytes.

mod day;
mod decode;
mod flight;
mod queues;
mod recordings;
mod redials;
mod simulated;
mod snapshots;
mod stories;

use anyhow::Result;
use test_support::replays;
use tracer::source::recording;
use tracer_model::Event;

/// All recordings of `tests/replays`, by their names.
fn all_recordings() -> Result<Vec<(String, Vec<Event>)>> {
    let named = |name: String| {
        let events = recording::read(&replays::recording(&name))?;
        Ok((name, events))
    };
    replays::names()?.into_iter().map(named).collect()
}
