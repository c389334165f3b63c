//! Outages of devices that were disabled: nothing ends them, and nothing more is to come of them.

use std::collections::BTreeMap;

use tracer_model::{Device, Incident, Nanos};

/// Devices that were disabled while they failed.
#[derive(Debug, Default)]
pub(super) struct RemovedDevices(BTreeMap<Device, Removed>);

#[derive(Clone, Copy, Debug)]
struct Removed {
    /// When it was noticed, or the last operation on it ended, if that was later.
    at: Nanos,
    /// Whether it has been enabled again.
    is_back: bool,
}

impl RemovedDevices {
    /// It was disabled at this time, while it failed.
    pub(super) fn add(&mut self, device: &Device, at: Nanos) {
        let removed = Removed { at, is_back: false };
        self.0.insert(device.clone(), removed);
    }

    /// It is an audit device, perhaps again.
    pub(super) fn is_back(&mut self, device: &Device) {
        if let Some(removed) = self.0.get_mut(device) {
            removed.is_back = true;
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.0.len()
    }

    /// The end of an outage in which an operation on the device ended at this time: who began before it was disabled may end
    /// after.
    pub(super) fn end(&mut self, device: &Device, at: Nanos) -> Option<Nanos> {
        let removed = self.0.get_mut(device).filter(|removed| !removed.is_back)?;
        removed.at = removed.at.max(at);
        Some(removed.at)
    }

    /// The incident as it is reported: a device that was disabled did not work again.
    pub(super) fn reported(&mut self, incident: Incident) -> Incident {
        let Some(removed) = self.0.get(&incident.device).copied() else {
            return incident;
        };
        if removed.is_back {
            self.0.remove(&incident.device);
        }
        let end = incident.end.filter(|end| *end != removed.at);
        Incident { end, ..incident }
    }
}
