//! For which device a goroutine waits that a sample found.

use std::collections::BTreeMap;

use tracer_model::{Device, GoroutineSample, WaitReason};

use crate::engine::trackers::Trackers;

/// The device in whose code the goroutine is. `meant`: the result of [`device_meant`] for each reason so far.
pub(super) fn device_of(
    sample: &GoroutineSample,
    all: &[GoroutineSample],
    meant: &mut BTreeMap<WaitReason, Option<Device>>,
    trackers: &Trackers,
) -> Option<Device> {
    let is_certain =
        |device: &&Device| device.is_address() || trackers.identities.is_configured(device);
    let known = sample.device.as_ref().filter(is_certain);
    let known = known.map(|device| trackers.identities.owner_of(device));
    if let Some(socket) = known.and_then(|device| trackers.socket_of_syslog(device)) {
        return Some(socket);
    }
    known
        .or_else(|| trackers.sockets.device_waited_for(sample.goid))
        .cloned()
        .or_else(|| {
            let meant = meant.entry(sample.place);
            meant
                .or_insert_with(|| device_meant(sample.place, all, trackers))
                .clone()
        })
        .or_else(|| sample.device.clone())
}

/// The device that must be meant where it is configured by a name or cannot be read: a goroutine that resolves a name has no
/// connection to the device, and one that queues does so behind one that is stalled, or that resolves.
fn device_meant(
    reason: WaitReason,
    all: &[GoroutineSample],
    trackers: &Trackers,
) -> Option<Device> {
    let stalled = trackers.sockets.stalled_devices();
    let by_stall = trackers.only_device(|device| stalled.contains(device));
    let resolving = all.iter().any(|s| s.place == WaitReason::Resolve);
    let unconnected = || {
        trackers.only_device(|device| {
            device.transport.is_socket() && !trackers.sockets.is_connected(device)
        })
    };
    let by_name = || resolving.then(unconnected).flatten();
    match reason {
        WaitReason::Lock | WaitReason::Other => by_stall.or_else(by_name),
        WaitReason::Resolve => by_name(),
        WaitReason::Connect | WaitReason::Write | WaitReason::Open | WaitReason::Answer => None,
    }
}
