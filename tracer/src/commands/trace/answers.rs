//! What the core asks, answered: from the server's memory, and from its audit files.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::debug;

use super::clock;
use crate::{
    audit::file::{FileQuery, find_entry as find_in_files},
    server::goroutines::{GoroutineReader, ProcessMemory, Waiting},
};
use tracer_core::Query;
use tracer_model::{Device, EntryHead, EntryQuery, Event, EventKind, GoroutineSample};

/// An answer to a question.
pub(super) struct Answer {
    /// `None` where there is none.
    pub(super) event: Option<Event>,
    /// Of a look at the server's goroutines.
    pub(super) look: Option<Look>,
}

/// What else a look tells.
pub(super) struct Look {
    pub(super) took: Duration,
    /// Whether somebody in a device's code has not moved since the look before.
    pub(super) is_stuck: bool,
}

/// What it takes to see where goroutines wait.
pub(super) struct Goroutines {
    pub(super) reader: GoroutineReader,
    pub(super) memory: ProcessMemory,
}

impl Answer {
    /// What is asked of the server with this process ID.
    pub(super) fn to(question: Query, pid: i32, goroutines: Option<&Goroutines>) -> Self {
        match question {
            Query::Entry(asked) => Self {
                event: Some(clock::now(EventKind::EntryFound {
                    entry: find_entry(pid, &asked),
                    asked,
                })),
                look: None,
            },
            Query::Goroutines => goroutines.map_or_else(Self::none, look),
        }
    }

    fn none() -> Self {
        Self {
            event: None,
            look: None,
        }
    }
}

/// As of when the look began: what goroutines did since then is newer.
fn look(goroutines: &Goroutines) -> Answer {
    let (at, began) = (clock::monotonic(), Instant::now());
    let samples = match goroutines.reader.sample(&goroutines.memory) {
        Ok(samples) => samples,
        Err(error) => {
            debug!("the server's goroutines could not be read this time: {error}");
            return Answer::none();
        }
    };
    Answer {
        event: Some(Event {
            at,
            what: EventKind::GoroutinesSampled {
                goroutines: samples.waiting.iter().map(of_request).collect(),
                handlers: samples.handlers,
            },
        }),
        look: Some(Look {
            took: began.elapsed(),
            is_stuck: samples.waiting.iter().any(|waiting| waiting.still),
        }),
    }
}

fn of_request(waiting: &Waiting) -> GoroutineSample {
    let configured = waiting.device.as_ref();
    GoroutineSample {
        goid: waiting.goid,
        ancestors: waiting.ancestors.clone(),
        request: waiting.request.filter(|request| *request != waiting.goid),
        place: waiting.at,
        since: waiting.since,
        phase: waiting.phase,
        device: configured.map(|device| Device::configured(&device.network, &device.address)),
        frames: waiting.frames.clone(),
        entry: waiting.entry.clone(),
    }
}

fn find_entry(pid: i32, question: &EntryQuery) -> Option<EntryHead> {
    let query = FileQuery {
        client_port: question.client_port,
        not_before: Timestamp::from_nanosecond(question.not_before.into()).ok()?,
        not_after: Timestamp::from_nanosecond(question.not_after.into()).ok()?,
    };
    find_in_files(pid, &query)
}
