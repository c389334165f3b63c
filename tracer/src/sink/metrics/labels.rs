//! The labels of series, and which devices have series of their own.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;

use tracer_model::{Cause, Condition, Device, Stall};

/// Devices that have series of their own. A server has a handful; all others share one.
const MAX_DEVICES: usize = 64;

/// The label of all other devices.
const OTHER: &str = "other";

/// Instead of an empty label, which to Prometheus is an absent one.
pub(super) const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DeviceLabels {
    device: String,
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabels {
    #[prometheus(flatten)]
    device: DeviceLabels,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OpLabels {
    #[prometheus(flatten)]
    device: DeviceLabels,
    op: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConditionLabels {
    #[prometheus(flatten)]
    device: DeviceLabels,
    condition: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SessionLabels {
    pub(super) pid: i32,
    pub(super) kernel: String,
    pub(super) go_version: String,
}

/// The devices that have series.
#[derive(Default)]
pub(super) struct Devices(HashMap<Device, DeviceLabels>);

impl Devices {
    /// The labels of a device, and whether they may be new.
    pub(super) fn labels(&mut self, device: &Device) -> (DeviceLabels, bool) {
        if let Some(labels) = self.0.get(device) {
            return (labels.clone(), false);
        }
        if self.0.len() >= MAX_DEVICES {
            return (DeviceLabels::others(), true);
        }
        let address = match &*device.address {
            "" => UNKNOWN,
            address => address,
        };
        let labels = DeviceLabels::new(address, device.transport.name());
        self.0.insert(device.clone(), labels.clone());
        (labels, true)
    }

    /// The labels of all devices, those of devices that share a series as well.
    pub(super) fn all(&self) -> impl Iterator<Item = DeviceLabels> {
        let others = (self.0.len() >= MAX_DEVICES).then(DeviceLabels::others);
        self.0.values().cloned().chain(others)
    }
}

impl DeviceLabels {
    fn others() -> Self {
        Self::new(OTHER, OTHER)
    }

    fn new(device: &str, transport: &'static str) -> Self {
        let device = device.to_owned();
        Self { device, transport }
    }

    /// Whether these are of one device, and not of all others together.
    pub(super) fn is_single(&self) -> bool {
        self.transport != OTHER
    }

    pub(super) fn with_cause(&self, cause: Cause) -> CauseLabels {
        CauseLabels {
            device: self.clone(),
            cause: cause.name(),
        }
    }

    pub(super) fn with_stall(&self, stall: &Stall) -> OpLabels {
        OpLabels {
            device: self.clone(),
            op: stall.op.name(),
            cause: stall.cause.name(),
        }
    }

    pub(super) fn with_condition(&self, condition: Condition) -> ConditionLabels {
        ConditionLabels {
            device: self.clone(),
            condition: condition.name(),
        }
    }
}
