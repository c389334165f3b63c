//! Where the events of a trace are kept: all of them, or those around what goes wrong.

use std::sync::Arc;

use anyhow::Result;

use crate::sink::{Worker, flight_recorder::FlightRecorder, together};
use tracer_model::{Device, Event, Finding, Nanos};

/// The recordings that the operator asked for.
pub(super) struct Recorders {
    /// `--record`
    pub(super) all: Option<Worker<Event>>,
    /// `--flight-recorder`
    pub(super) flight: Option<FlightRecorder>,
}

impl Recorders {
    /// Takes any event of the trace.
    pub(super) fn record(&mut self, event: Event) {
        if self.all.is_none() && self.flight.is_none() {
            return;
        }
        let event = Arc::new(event);
        if let Some(all) = &mut self.all {
            all.send(&event);
        }
        if let Some(flight) = &mut self.flight {
            flight.record(&event);
        }
    }

    /// Takes any finding of the trace.
    pub(super) fn found(&mut self, finding: &Finding) {
        if let Some(flight) = &mut self.flight {
            flight.found(finding);
        }
    }

    /// The kernel side keeps nothing back from now on.
    pub(super) fn streaming(&mut self, at: Nanos, audit: impl FnOnce() -> Vec<Device>) {
        if let Some(flight) = &mut self.flight {
            flight.begin(at, audit());
        }
    }

    /// All is well.
    pub(super) fn buffering(&mut self, at: Nanos) {
        if let Some(flight) = &mut self.flight {
            flight.end(at);
        }
    }

    /// The trace ends.
    pub(super) fn finish(self) -> Result<()> {
        let flight = self.flight.map_or(Ok(()), FlightRecorder::finish);
        together([Worker::finish_all(self.all), flight])
    }
}
