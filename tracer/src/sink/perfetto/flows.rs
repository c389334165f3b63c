//! Arrows from a stall to those who queued behind it. Which of the two is told first depends on which
//! request is answered first, so each is kept until the other comes, and an arrow is drawn once both
//! are written: it never lacks an end.

use std::collections::VecDeque;

use super::{
    batch::{Batch, Says, Span},
    tracks::Ids,
};
use crate::sink::recent::Recent;
use tracer_model::Device;

/// Stalls, or those who queued, kept for one request.
const KEPT: usize = 64;

/// A slice that is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) track: u64,
    pub(super) span: Span,
}

/// Of one request on one device.
#[derive(Debug, Default)]
struct Known {
    stalls: VecDeque<Slice>,
    queued: VecDeque<Slice>,
}

/// What arrows may still be drawn to or from, by device and the id of the request in the device.
#[derive(Debug, Default)]
pub(super) struct Flows(Recent<(Device, String), Known>);

impl Flows {
    /// A stall of this request, on its device's track.
    pub(super) fn stalled(
        &mut self,
        (device, id): (&Device, &str),
        stall: Slice,
        ids: &mut Ids,
        batch: &mut Batch,
    ) {
        let known = self
            .0
            .entry(&(device.clone(), id.to_owned()), Known::default);
        known
            .queued
            .retain(|queued| !arrow(stall, *queued, ids, batch));
        keep(&mut known.stalls, stall);
    }

    /// Who queued behind this request, on its own track. One arrow, from the first stall that lasted
    /// meanwhile: the finding says who was in the device when the queueing began, and no more.
    pub(super) fn queued(
        &mut self,
        (device, behind): (&Device, &str),
        queued: Slice,
        ids: &mut Ids,
        batch: &mut Batch,
    ) {
        let key = (device.clone(), behind.to_owned());
        let known = self.0.entry(&key, Known::default);
        if !known
            .stalls
            .iter()
            .any(|stall| arrow(*stall, queued, ids, batch))
        {
            keep(&mut known.queued, queued);
        }
    }
}

fn keep(slices: &mut VecDeque<Slice>, slice: Slice) {
    if slices.len() == KEPT {
        slices.pop_front();
    }
    slices.push_back(slice);
}

/// Draws it if both lasted at some time. Slices that are written take no more arrows, so it leads from
/// an instant in the one to an instant in the other, when first both lasted.
fn arrow(stall: Slice, queued: Slice, ids: &mut Ids, batch: &mut Batch) -> bool {
    let at = stall.span.start.max(queued.span.start);
    if at >= stall.span.end.min(queued.span.end) {
        return false;
    }
    let flow = ids.next();
    let says = |name: &str, category| Says {
        name: name.to_owned(),
        category,
        ..Says::default()
    };
    let from = Says {
        leads: Some(flow),
        ..says("blocks", "device")
    };
    let to = Says {
        ends: Some(flow),
        ..says("blocked", "request")
    };
    batch.instant(at, stall.track, from);
    batch.instant(at, queued.track, to);
    true
}
