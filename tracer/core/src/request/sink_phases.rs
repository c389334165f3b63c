//! For which of its request's two entries each sink works.
//!
//! A sink's goroutine writes one entry (`hashicorp/eventlogger`, `graph.go`). Its arguments say which, but not in every program: where
//! they do not, what the request's own goroutine waits for when the sink is first found does.

use std::collections::BTreeMap;

use tracer_model::{GoroutineSample, Operation, Phase};

/// The sinks of one request, by goroutine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SinkPhases(BTreeMap<u64, Phase>);

impl SinkPhases {
    /// Takes a sample of a sink, and for which entry the request's own goroutine was in the broker at that time.
    /// `is_new`: nothing was seen of the sink before.
    pub(super) fn learn(&mut self, sample: &GoroutineSample, handler: Option<Phase>, is_new: bool) {
        // A sink of the first entry may go on when the goroutine has given that up, but none of the second comes before that.
        let by_handler = handler.filter(|phase| is_new || *phase == Phase::Request);
        match (sample.phase(), by_handler) {
            (Some(own), _) => {
                self.0.insert(sample.goid, own);
            }
            (None, Some(phase)) => {
                self.0.entry(sample.goid).or_insert(phase);
            }
            (None, None) => {}
        }
    }

    /// For which entry this goroutine works.
    pub(super) fn of(&self, goid: u64) -> Option<Phase> {
        self.0.get(&goid).copied()
    }

    /// What is known of a sink is true of all that it does.
    pub(super) fn complete(&self, operation: Operation) -> Operation {
        let known = || self.of(operation.by.goid?);
        Operation {
            phase: operation.phase.or_else(known),
            ..operation
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}
