//! The labels of series, and which devices have series of their own.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;

use tracer_model::{Cause, Device};

/// Devices that have series of their own. A server has a handful; what else is found is counted as one.
const DEVICES: usize = 64;

/// The label of all devices beyond.
const OTHER: &str = "other";

/// The label of a device whose address is not known: an empty one would be none.
pub(super) const UNKNOWN: &str = "unknown";

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfDevice {
    pub(super) device: String,
    pub(super) transport: &'static str,
}

/// One device, by why it failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByCause {
    pub(super) device: String,
    pub(super) transport: &'static str,
    pub(super) cause: &'static str,
}

/// One device, by what was waited for and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByOp {
    pub(super) device: String,
    pub(super) transport: &'static str,
    pub(super) op: &'static str,
    pub(super) cause: &'static str,
}

/// One device, and one of the conditions that it may be in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByCondition {
    pub(super) device: String,
    pub(super) transport: &'static str,
    pub(super) condition: &'static str,
}

/// Which server is traced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSession {
    pub(super) pid: i32,
    pub(super) kernel: String,
    pub(super) go_version: String,
}

/// The devices that are known.
#[derive(Default)]
pub(super) struct Devices(HashMap<Device, OfDevice>);

impl Devices {
    /// Its labels, and whether they are new.
    pub(super) fn labels(&mut self, device: &Device) -> (OfDevice, bool) {
        if let Some(labels) = self.0.get(device) {
            return (labels.clone(), false);
        }
        if self.0.len() >= DEVICES {
            return (OfDevice::other(), true);
        }
        let labels = OfDevice::of(device);
        self.0.insert(device.clone(), labels.clone());
        (labels, true)
    }
}

impl OfDevice {
    fn of(device: &Device) -> Self {
        let address = match &*device.address {
            "" => UNKNOWN,
            address => address,
        };
        Self {
            device: address.to_owned(),
            transport: device.transport.name(),
        }
    }

    fn other() -> Self {
        Self {
            device: OTHER.to_owned(),
            transport: OTHER,
        }
    }

    /// Whether it is not all others together.
    pub(super) fn is_one(&self) -> bool {
        self.transport != OTHER
    }

    /// By why it failed.
    pub(super) fn by(&self, cause: Cause) -> ByCause {
        ByCause {
            device: self.device.clone(),
            transport: self.transport,
            cause: cause.name(),
        }
    }
}
