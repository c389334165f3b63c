//! Totals of each device.

use std::cmp::Reverse;

use tracer_format::{Name, record::Device, text::shortened};
use tracer_model::{Cause, Nanos};

use super::{
    heavy::HangTotals,
    summary::{CauseSummary, DeviceSummary, Lost},
};

/// Devices that have totals of their own. A server has a handful.
pub const DEVICES: usize = 64;

/// Causes of a device that have totals of their own; there are ten.
const CAUSES: usize = 16;

/// All devices.
#[derive(Default)]
pub struct DeviceTable {
    known: Vec<DeviceSummary>,
    /// Hangs of those beyond [`DEVICES`].
    pub others: HangTotals,
}

impl DeviceTable {
    /// A device, added if it is new; `None` if there are too many.
    pub fn get<T: AsRef<str>>(&mut self, named: &Device<T>) -> Option<&mut DeviceSummary> {
        let is_named = |known: &DeviceSummary| {
            let device = &known.device;
            device.address == named.address.as_ref() && device.transport == named.transport
        };
        let lane = self.known.iter().position(is_named);
        let lane = lane.unwrap_or(self.known.len());
        if lane == self.known.len() && lane < DEVICES {
            let device = Device {
                transport: named.transport.clone(),
                address: shortened(named.address.as_ref()),
                path: None,
                addresses: Vec::new(),
            };
            self.known.push(DeviceSummary::new(device, lane));
        }
        let known = self.known.get_mut(lane)?;
        if known.device.path.is_none() {
            known.device.path = named.path.as_ref().map(|path| shortened(path.as_ref()));
        }
        Some(known)
    }

    /// Items that are kept.
    pub fn kept(&self) -> usize {
        let kept = self.known.iter().map(|device| 1 + device.causes.len());
        kept.sum()
    }

    /// By time lost.
    pub fn finish(self) -> Vec<DeviceSummary> {
        let mut devices = self.known;
        for device in &mut devices {
            (device.causes).sort_by_key(|cause| Reverse((cause.total, cause.refusals)));
        }
        devices.sort_by(|a, b| {
            let size = |of: &DeviceSummary| (of.total, of.refusals, of.lost.entries);
            size(b).cmp(&size(a)).then_with(|| a.device.cmp(&b.device))
        });
        devices
    }
}

impl DeviceSummary {
    fn new(device: Device, lane: usize) -> Self {
        Self {
            device,
            total: HangTotals::default(),
            longest_ns: 0,
            refusals: 0,
            refusals_written: 0,
            causes: Vec::new(),
            incidents: 0,
            incidents_open: 0,
            lost: Lost::default(),
            pending: Lost::default(),
            most_waiting: 0,
            fillings: 0,
            lane,
        }
    }

    /// Adds a hang. Its explanation is kept if it explains the cause best: that of the longest hang whose request was in
    /// the device itself.
    pub(super) fn add_hang(
        &mut self,
        cause: &Name<Cause>,
        blocked: Nanos,
        (was_inside, explanation): (bool, &str),
    ) {
        self.total.add(blocked);
        self.longest_ns = self.longest_ns.max(blocked);
        let cause = self.cause(cause);
        cause.total.add(blocked);
        let rank = Some((was_inside, blocked));
        if rank > cause.explained_by {
            cause.explained_by = rank;
            cause.explanation = shortened(explanation);
        }
    }

    /// Adds a refusal.
    pub(super) fn add_refusal(&mut self, cause: &Name<Cause>, explanation: &str) {
        self.refusals += 1;
        self.refusals_written += 1;
        let cause = self.cause(cause);
        cause.refusals += 1;
        if cause.explanation.is_empty() {
            cause.explanation = shortened(explanation);
        }
    }

    /// Adds what an incident counted beyond the refusals that were written down before it; returns how many. `None` in traces
    /// that wrote down each.
    pub(super) fn add_counted_refusals(
        &mut self,
        cause: &Name<Cause>,
        counted: Option<u64>,
    ) -> u64 {
        let written = std::mem::take(&mut self.refusals_written);
        let more = counted.unwrap_or(0).saturating_sub(written);
        if more > 0 {
            self.refusals += more;
            self.cause(cause).refusals += more;
        }
        more
    }

    /// The totals of a cause; those of the last one if there are too many.
    fn cause(&mut self, name: &Name<Cause>) -> &mut CauseSummary {
        let known = self.causes.iter().position(|known| known.cause == *name);
        let place = known.unwrap_or(self.causes.len()).min(CAUSES - 1);
        if place == self.causes.len() {
            self.causes.push(CauseSummary {
                cause: name.clone(),
                total: HangTotals::default(),
                refusals: 0,
                explanation: String::new(),
                explained_by: None,
            });
        }
        &mut self.causes[place]
    }
}

impl Lost {
    /// Adds another loss.
    pub fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.is_lower_bound |= other.is_lower_bound;
    }
}
