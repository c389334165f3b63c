//! One incident by itself.

use tracer_model::{Device, Incident, LossTotals, Nanos, Operation, UntakenEntries};

use crate::diagnose::cause::cause_of;

/// Hangs that are kept for an incident to come.
pub(super) const MAX_UNMATCHED: usize = 4096;

/// What an incident takes of a hang.
#[derive(Debug)]
pub(super) struct BlockedTime {
    pub(super) device: Device,
    pub(super) start: Nanos,
    pub(super) end: Nanos,
    pub(super) duration: Nanos,
}

pub(super) fn incident_from(operation: &Operation) -> Incident {
    Incident {
        device: operation.device.clone(),
        start: operation.start,
        end: None,
        cause: cause_of(operation),
        hangs: 0,
        refusals: 0,
        requests: 0,
        blocked: 0,
        longest: 0,
        lost: Some(LossTotals::default()),
        untaken: UntakenEntries::default(),
    }
}

/// Whether it is over and no request and no entry suffered: a retry went well.
pub(super) fn is_harmless(incident: &Incident, threshold: Nanos) -> bool {
    let lasted = incident.end.map(|end| end.saturating_sub(incident.start));
    let lost = incident.lost.unwrap_or_default();
    let untaken = &incident.untaken;
    lasted.is_some_and(|lasted| lasted < threshold)
        && incident.hangs == 0
        && incident.requests == 0
        && lost == LossTotals::default()
        && untaken.failed.unwrap_or(0) == 0
        && untaken.missed.unwrap_or(0) == 0
}
