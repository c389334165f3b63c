//! Answers to the core's queries, from the server's memory and its audit files.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::debug;

use super::clock;
use crate::{
    audit::file::{FileQuery, find_entry as find_in_files},
    server::goroutines::{GoroutineReader, ProcessMemory},
};
use tracer_core::Query;
use tracer_model::{EntryHead, EntryQuery, Event, EventKind};

/// The answer to a query of the core.
pub(super) struct Answer {
    /// `None` if there is none.
    pub(super) event: Option<Event>,
    /// The audit devices that the server has, if that is new.
    pub(super) devices: Option<Event>,
    /// Of a sample of the server's goroutines.
    pub(super) sample: Option<SampleInfo>,
}

/// How a sample went.
pub(super) struct SampleInfo {
    pub(super) took: Duration,
    /// Whether a goroutine in a device's code has not moved since the previous sample.
    pub(super) is_stuck: bool,
}

/// Samples the goroutines of a running server.
pub(super) struct Goroutines {
    pub(super) reader: GoroutineReader,
    pub(super) memory: ProcessMemory,
}

impl Answer {
    /// `pid`: of the server.
    pub(super) fn to(query: Query, pid: i32, goroutines: Option<&Goroutines>) -> Self {
        match query {
            Query::Entry(asked) => Self {
                event: Some(clock::now(EventKind::EntryFound {
                    entry: find_entry(pid, &asked),
                    asked,
                })),
                devices: None,
                sample: None,
            },
            Query::Goroutines => goroutines.and_then(sample).unwrap_or(Self::nothing()),
        }
    }

    /// Only which audit devices the server has.
    pub(super) fn of_devices(goroutines: &Goroutines) -> Self {
        Self {
            devices: sample(goroutines).and_then(|answer| answer.devices),
            ..Self::nothing()
        }
    }

    fn nothing() -> Self {
        Self {
            event: None,
            devices: None,
            sample: None,
        }
    }
}

/// The event has the time when the sample began: what goroutines did since then is newer.
fn sample(goroutines: &Goroutines) -> Option<Answer> {
    let (at, began) = (clock::monotonic(), Instant::now());
    let samples = goroutines.reader.sample(&goroutines.memory);
    let samples = samples.inspect_err(|error| {
        debug!("the server's goroutines could not be read this time: {error}");
    });
    let samples = samples.ok()?;
    let devices = samples.configured.map(|devices| Event {
        at,
        what: EventKind::DevicesRead { devices },
    });
    Some(Answer {
        devices,
        event: Some(Event {
            at,
            what: EventKind::GoroutinesSampled {
                goroutines: samples.goroutines,
                handlers: samples.handlers,
            },
        }),
        sample: Some(SampleInfo {
            took: began.elapsed(),
            is_stuck: !samples.unmoved.is_empty(),
        }),
    })
}

fn find_entry(pid: i32, asked: &EntryQuery) -> Option<EntryHead> {
    let query = FileQuery {
        client_port: asked.client_port,
        not_before: Timestamp::from_nanosecond(asked.not_before.into()).ok()?,
        not_after: Timestamp::from_nanosecond(asked.not_after.into()).ok()?,
    };
    find_in_files(pid, &query)
}
