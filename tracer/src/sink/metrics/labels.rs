//! The labels of series, and which devices have series of their own.

use std::collections::{HashMap, HashSet};

use prometheus_client::encoding::EncodeLabelSet;

use tracer_model::{Cause, Condition, Device, Nanos, Op, Session, Stall};

/// Devices that have series of their own. A server has a handful; all others share one.
const MAX_DEVICES: usize = 64;

/// So long the series of a device that is no longer there stay, ns: whoever scrapes once a minute sees the last of them.
const EXPIRY: Nanos = 300_000_000_000;

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
pub(super) struct PathLabels {
    #[prometheus(flatten)]
    pub(super) device: DeviceLabels,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SessionLabels {
    pid: i32,
    kernel: String,
    go_version: String,
    /// Where the server runs, as far as known.
    #[prometheus(flatten)]
    place: Vec<(&'static str, String)>,
}

/// Resource attributes that are labels, with the names that OpenTelemetry's exporter for Prometheus gives them.
const PLACE: [(&str, &str); 4] = [
    ("container.id", "container_id"),
    ("k8s.namespace.name", "k8s_namespace_name"),
    ("k8s.node.name", "k8s_node_name"),
    ("k8s.pod.name", "k8s_pod_name"),
];

impl SessionLabels {
    pub(super) fn of(session: &Session) -> Self {
        let go_version = session.go_version.as_deref().unwrap_or(UNKNOWN);
        let value = |attribute: &str| session.resource.get(attribute).cloned();
        let place = PLACE.into_iter();
        Self {
            pid: session.pid,
            kernel: session.kernel.clone(),
            go_version: go_version.to_owned(),
            place: place
                .filter_map(|(attribute, label)| Some((label, value(attribute)?)))
                .collect(),
        }
    }
}

/// The devices that have series.
#[derive(Default)]
pub(super) struct Devices {
    labels: HashMap<Device, DeviceLabels>,
    /// When a snapshot first lacked those that the last one lacked.
    gone: HashMap<Device, Nanos>,
}

impl Devices {
    /// The labels of a device, and whether they may be new.
    pub(super) fn labels(&mut self, device: &Device) -> (DeviceLabels, bool) {
        if let Some(labels) = self.labels.get(device) {
            return (labels.clone(), false);
        }
        if self.labels.len() >= MAX_DEVICES {
            return (DeviceLabels::others(), true);
        }
        let address = match &*device.address {
            "" => UNKNOWN,
            address => address,
        };
        let labels = DeviceLabels::new(address, device.transport.name());
        self.labels.insert(device.clone(), labels.clone());
        (labels, true)
    }

    /// Takes which devices there are. Returns the labels of those that are not, and whether their series expire.
    pub(super) fn absent<'a>(
        &mut self,
        at: Nanos,
        present: impl Iterator<Item = &'a Device>,
    ) -> Vec<(DeviceLabels, bool)> {
        let present: HashSet<_> = present.collect();
        let absent = self
            .labels
            .keys()
            .filter(|device| !present.contains(device));
        let since = |device: &Device| self.gone.get(device).copied().unwrap_or(at);
        self.gone = absent
            .map(|device| (device.clone(), since(device)))
            .collect();
        let mut labels = Vec::new();
        for (device, since) in &self.gone {
            let expires = at.saturating_sub(*since) >= EXPIRY;
            let of = if expires {
                self.labels.remove(device)
            } else {
                self.labels.get(device).cloned()
            };
            labels.extend(of.map(|of| (of, expires)));
        }
        labels
    }

    /// The labels of all devices, those of devices that share a series as well.
    pub(super) fn all(&self) -> impl Iterator<Item = DeviceLabels> {
        let others = (self.labels.len() >= MAX_DEVICES).then(DeviceLabels::others);
        self.labels.values().cloned().chain(others)
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

    pub(super) fn with_path(&self, path: &str) -> PathLabels {
        PathLabels {
            device: self.clone(),
            path: path.to_owned(),
        }
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

    /// With each operation and cause.
    pub(super) fn with_stalls(&self) -> impl Iterator<Item = OpLabels> {
        let ops = [Op::Connect, Op::Write, Op::Lock];
        let of = |op: Op| {
            Cause::ALL.map(|cause| OpLabels {
                device: self.clone(),
                op: op.name(),
                cause: cause.name(),
            })
        };
        ops.map(of).into_iter().flatten()
    }

    pub(super) fn with_condition(&self, condition: Condition) -> ConditionLabels {
        ConditionLabels {
            device: self.clone(),
            condition: condition.name(),
        }
    }
}
