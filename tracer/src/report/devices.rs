//! Totals of each device.

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
pub struct Devices {
    known: Vec<DeviceTotals>,
    /// Hangs of those beyond [`DEVICES`].
    pub others: HangTotals,
}

/// One device.
pub struct DeviceTotals {
    summary: DeviceSummary,
    /// By cause, the hang that explains it best: whether its request was in the device itself, and its duration.
    best: Vec<Option<(bool, Nanos)>>,
}

impl Devices {
    /// A device, added if it is new; `None` if there are too many.
    pub fn get<T: AsRef<str>>(&mut self, named: &Device<T>) -> Option<&mut DeviceTotals> {
        let is_named = |device: &Device| {
            device.address == named.address.as_ref() && device.transport == named.transport
        };
        let place = self
            .known
            .iter()
            .position(|of| is_named(&of.summary.device));
        let place = match place {
            Some(place) => place,
            None if self.known.len() < DEVICES => {
                self.known.push(DeviceTotals::new(named, self.known.len()));
                self.known.len() - 1
            }
            None => return None,
        };
        self.known.get_mut(place)
    }

    /// Items that are kept.
    pub fn kept(&self) -> usize {
        self.known
            .iter()
            .map(|of| 1 + of.summary.causes.len())
            .sum()
    }

    /// By time lost.
    pub fn finish(self) -> Vec<DeviceSummary> {
        let mut devices: Vec<_> = self
            .known
            .into_iter()
            .map(|device| device.summary)
            .collect();
        for device in &mut devices {
            (device.causes).sort_by_key(|cause| std::cmp::Reverse((cause.total, cause.refusals)));
        }
        devices.sort_by(|a, b| {
            let size = |of: &DeviceSummary| (of.total, of.refusals, of.lost.entries);
            size(b).cmp(&size(a)).then_with(|| a.device.cmp(&b.device))
        });
        devices
    }
}

impl DeviceTotals {
    fn new<T: AsRef<str>>(device: &Device<T>, lane: usize) -> Self {
        Self {
            summary: DeviceSummary {
                device: Device {
                    transport: device.transport.clone(),
                    address: shortened(device.address.as_ref()),
                },
                total: HangTotals::default(),
                longest_ns: 0,
                refusals: 0,
                causes: Vec::new(),
                incidents: 0,
                incidents_open: 0,
                lost: Lost::default(),
                pending: Lost::default(),
                most_waiting: 0,
                fillings: 0,
                lane,
            },
            best: Vec::new(),
        }
    }

    /// Its place in the timeline.
    pub fn lane(&self) -> usize {
        self.summary.lane
    }

    /// Adds a hang. Returns whether it explains the cause best: the longest of those whose request was in the device
    /// itself.
    pub fn hang(&mut self, cause: &Name<Cause>, blocked: Nanos, was_inside: bool) -> bool {
        self.summary.total.add(blocked);
        self.summary.longest_ns = self.summary.longest_ns.max(blocked);
        let place = self.cause(cause);
        self.summary.causes[place].total.add(blocked);
        let this = Some((was_inside, blocked));
        let is_best = this > self.best[place];
        self.best[place] = self.best[place].max(this);
        is_best
    }

    /// Sets the explanation of a cause.
    pub fn explain(&mut self, cause: &Name<Cause>, explanation: &str) {
        let place = self.cause(cause);
        self.summary.causes[place].explanation = shortened(explanation);
    }

    /// Adds a refusal.
    pub fn refusal(&mut self, cause: &Name<Cause>, explanation: &str) {
        self.summary.refusals += 1;
        let place = self.cause(cause);
        let cause = &mut self.summary.causes[place];
        cause.refusals += 1;
        if cause.explanation.is_empty() {
            cause.explanation = shortened(explanation);
        }
    }

    /// Adds a number of requests that queued for it.
    pub fn waiting(&mut self, waiting: u64) {
        self.summary.most_waiting = self.summary.most_waiting.max(waiting);
    }

    /// Adds entries that were not acknowledged.
    pub fn lost(&mut self, lost: Lost, pending: bool) {
        let of = &mut self.summary;
        let sum = if pending {
            &mut of.pending
        } else {
            &mut of.lost
        };
        sum.add(lost);
    }

    /// Adds a warning that its send buffer filled up.
    pub fn filling(&mut self) {
        self.summary.fillings += 1;
    }

    /// Adds an incident.
    pub fn incident(&mut self, is_open: bool) {
        self.summary.incidents += 1;
        self.summary.incidents_open += u64::from(is_open);
    }

    fn cause(&mut self, name: &Name<Cause>) -> usize {
        let causes = &mut self.summary.causes;
        let known = causes.iter().position(|cause| cause.cause == *name);
        known.unwrap_or_else(|| {
            if causes.len() < CAUSES {
                self.best.push(None);
                causes.push(CauseSummary {
                    cause: name.clone(),
                    total: HangTotals::default(),
                    refusals: 0,
                    explanation: String::new(),
                });
            }
            causes.len() - 1
        })
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
