//! Answers to the core's queries, from the server's memory and its audit files.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use log::debug;

use super::{clock, listeners::active_node};
use crate::{
    audit::{
        file::{FileQuery, find_entry as find_in_files},
        file_state::{Descriptors, FileState},
    },
    server::{
        goroutines::{GoroutineReader, PolledSocket, ProcessMemory, Samples},
        sockets,
        unix_paths::add_bound_paths,
    },
};
use tracer_core::Query;
use tracer_model::{EntryHead, EntryQuery, Event, EventKind, ForwardedSample, Nanos};

/// How often the goroutines are read before there is no sample. One that fails is mostly read while the list of all goroutines
/// grows; the core asks again only after seconds.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// The answer to a query of the core.
pub(super) struct Answer {
    /// Empty if there is none.
    pub(super) events: Vec<Event>,
    /// The audit devices that the server has, if that is new.
    pub(super) devices: Option<Event>,
    /// Of a sample of the server's goroutines.
    pub(super) sample: Option<SampleInfo>,
    /// The audit file that was measured: nothing waits for such an answer, since its file system may hang.
    pub(super) file: Option<String>,
}

/// How a sample went.
pub(super) struct SampleInfo {
    /// Of a processor.
    pub(super) took: Duration,
    /// Whether a goroutine in a device's code has not moved since the previous sample.
    pub(super) is_stuck: bool,
}

/// Samples the goroutines of a running server.
pub(super) struct Goroutines {
    pub(super) reader: GoroutineReader,
    pub(super) memory: ProcessMemory,
    /// Since when each goroutine was found waiting for the active node.
    forwarded: Mutex<BTreeMap<u64, Nanos>>,
}

impl Goroutines {
    pub(super) fn new(reader: GoroutineReader, memory: ProcessMemory) -> Self {
        Self {
            reader,
            memory,
            forwarded: Mutex::default(),
        }
    }

    /// The sockets for which goroutines wait; none if that cannot be read.
    pub(super) fn polled_sockets(&self) -> Vec<PolledSocket> {
        let polled = self.reader.polled_sockets(&self.memory);
        polled.unwrap_or_else(|error| {
            debug!("the server's listeners could not be read this time: {error}");
            Vec::new()
        })
    }

    /// `None` as long as no request waits for the active node; once more when none does any longer.
    fn forwarded(&self, at: Nanos, pid: i32, samples: &Samples) -> Option<EventKind> {
        let mut known = self
            .forwarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if samples.forwarded.is_empty() && known.is_empty() {
            return None;
        }
        let now = samples.forwarded.iter().map(|(goid, _)| {
            let since = known.get(goid).copied().unwrap_or(at);
            (*goid, since)
        });
        *known = now.collect();
        let to = known.is_empty().then_some(None);
        let to = to.unwrap_or_else(|| {
            active_node(&sockets::open_sockets(pid).ok()?, &self.polled_sockets())
        });
        let handlers = samples
            .forwarded
            .iter()
            .map(|(goid, ancestors)| ForwardedSample {
                goid: *goid,
                ancestors: ancestors.clone(),
                since: known[goid],
                to: to.clone(),
            });
        Some(EventKind::ForwardedSampled {
            handlers: handlers.collect(),
        })
    }
}

impl Answer {
    /// `pid`: of the server.
    pub(super) fn to(
        query: Query,
        pid: i32,
        (goroutines, descriptors): (Option<&Goroutines>, &Descriptors),
    ) -> Self {
        match query {
            Query::Entry(asked) => Self {
                events: vec![clock::now(EventKind::EntryFound {
                    entry: find_entry(pid, &asked),
                    asked,
                })],
                ..Self::nothing()
            },
            Query::FileSize(path) => Self {
                file: Some(path.clone()),
                events: vec![file_state(pid, path, descriptors)],
                ..Self::nothing()
            },
            Query::Goroutines => {
                let answer = goroutines.and_then(|goroutines| sample(pid, goroutines));
                answer.unwrap_or(Self::nothing())
            }
        }
    }

    /// Only which audit devices the server has.
    pub(super) fn of_devices(pid: i32, goroutines: &Goroutines) -> Self {
        Self {
            devices: sample(pid, goroutines).and_then(|answer| answer.devices),
            ..Self::nothing()
        }
    }

    fn nothing() -> Self {
        Self {
            events: Vec::new(),
            devices: None,
            sample: None,
            file: None,
        }
    }
}

/// The event has the time when the sample began: what goroutines did since then is newer.
fn sample(pid: i32, goroutines: &Goroutines) -> Option<Answer> {
    let result = first_success(|| {
        let (at, used) = (clock::monotonic(), clock::used_by_thread());
        let samples = goroutines.reader.sample(&goroutines.memory)?;
        Ok((at, used, samples))
    });
    let result = result.inspect_err(|error| {
        debug!("the server's goroutines could not be read this time: {error}");
    });
    let (at, used, samples) = result.ok()?;
    let forwarded = goroutines.forwarded(at, pid, &samples);
    let is_stuck = !samples.unmoved.is_empty();
    let event = EventKind::GoroutinesSampled {
        goroutines: samples.goroutines,
        handlers: samples.handlers,
    };
    let kinds = forwarded.into_iter().chain([event]);
    let devices = samples.configured.map(|mut devices| {
        add_bound_paths(pid, &mut devices);
        EventKind::DevicesRead { devices }
    });
    Some(Answer {
        devices: devices.map(|what| Event { at, what }),
        events: kinds.map(|what| Event { at, what }).collect(),
        sample: Some(SampleInfo {
            took: Duration::from_nanos(clock::used_by_thread().saturating_sub(used)),
            is_stuck,
        }),
        file: None,
    })
}

/// Tries again a few times; the last error if none succeeds.
fn first_success<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        if let Ok(done) = read() {
            return Ok(done);
        }
        thread::sleep(BETWEEN_TRIES);
    }
    read()
}

/// The event has the time when the measurement began: what was written since then may be in it.
fn file_state(pid: i32, path: String, descriptors: &Descriptors) -> Event {
    let at = clock::monotonic();
    let FileState {
        size,
        is_open,
        free,
    } = descriptors.measure(pid, &path);
    let what = EventKind::FileSize {
        path,
        size,
        open: is_open,
        free,
    };
    Event { at, what }
}

fn find_entry(pid: i32, asked: &EntryQuery) -> Option<EntryHead> {
    let query = FileQuery {
        client_port: asked.client_port,
        client_address: asked.client_address,
        not_before: Timestamp::from_nanosecond(asked.not_before.into()).ok()?,
        not_after: Timestamp::from_nanosecond(asked.not_after.into()).ok()?,
    };
    find_in_files(pid, &query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_cannot_be_read_is_tried_again() {
        for (failures, tries, is_read) in [(0, 1, true), (2, 3, true), (3, 3, false)] {
            let mut tried = 0;
            let read = first_success(|| {
                tried += 1;
                if tried > failures {
                    Ok(())
                } else {
                    Err(io::ErrorKind::InvalidData.into())
                }
            });
            assert_eq!((tried, read.is_ok()), (tries, is_read), "{failures}");
        }
    }
}
