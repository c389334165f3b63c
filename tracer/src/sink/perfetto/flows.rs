//! Flows (arrows) from a stall to the requests that queued behind it. Either of the two may be reported first, so each
//! is kept until the other comes; a flow is written once both slices are, so it always has two ends.

use std::collections::VecDeque;

use super::{
    proto::TrackEvent,
    writer::{Interval, Writer},
};
use crate::bounded::BoundedMap;
use tracer_model::Device;

/// Blocking requests that are remembered.
const MAX_BLOCKERS: usize = 1024;

/// Slices of each kind kept for one request.
const MAX_SLICES: usize = 64;

/// A slice that is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) track: u64,
    pub(super) time: Interval,
}

/// Slices of one blocking request on one device.
#[derive(Debug, Default)]
struct Ends {
    stalls: VecDeque<Slice>,
    queued: VecDeque<Slice>,
}

/// Slices that flows may still begin or end at, by device and id of the blocking request.
#[derive(Debug, Default)]
pub(super) struct Flows(BoundedMap<(Device, String), Ends, MAX_BLOCKERS>);

impl Flows {
    /// A stall of this request, on its device's track.
    pub(super) fn stalled(&mut self, device: &Device, id: &str, stall: Slice, writer: &mut Writer) {
        let ends = self.ends(device, id);
        ends.queued
            .retain(|queued| !connect(stall, *queued, writer));
        keep(&mut ends.stalls, stall);
    }

    /// A wait behind `blocker`, on the waiting request's track. It gets one flow, from the first stall that overlaps:
    /// the finding names only the request that was in the device when the queueing began.
    pub(super) fn queued(
        &mut self,
        device: &Device,
        blocker: &str,
        queued: Slice,
        writer: &mut Writer,
    ) {
        let ends = self.ends(device, blocker);
        let mut stalls = ends.stalls.iter();
        if !stalls.any(|stall| connect(*stall, queued, writer)) {
            keep(&mut ends.queued, queued);
        }
    }

    fn ends(&mut self, device: &Device, id: &str) -> &mut Ends {
        let key = (device.clone(), id.to_owned());
        self.0.entry(&key, Ends::default)
    }
}

fn keep(slices: &mut VecDeque<Slice>, slice: Slice) {
    if slices.len() == MAX_SLICES {
        slices.pop_front();
    }
    slices.push_back(slice);
}

/// Writes a flow if the two overlap. Slices that are written take no more flows, so it leads from an instant in the one
/// to an instant in the other, at the beginning of the overlap.
fn connect(stall: Slice, queued: Slice, writer: &mut Writer) -> bool {
    let at = stall.time.start.max(queued.time.start);
    if at >= stall.time.end.min(queued.time.end) {
        return false;
    }
    let flow = writer.id();
    let event = |name: &str, category: &str| TrackEvent {
        name: Some(name.to_owned()),
        categories: vec![category.to_owned()],
        ..TrackEvent::default()
    };
    let from = TrackEvent {
        flow_ids: vec![flow],
        ..event("blocks", "device")
    };
    let to = TrackEvent {
        terminating_flow_ids: vec![flow],
        ..event("blocked", "request")
    };
    writer.instant(at, stall.track, from);
    writer.instant(at, queued.track, to);
    true
}
