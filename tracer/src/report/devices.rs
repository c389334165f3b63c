//! What each device did, and why.

use tracer_format::{Name, record::Device, text::shortened};
use tracer_model::{Cause, Nanos};

use super::{
    heavy::HangTotals,
    summary::{CauseSummary, DeviceSummary, Lost},
};

/// Devices that are told apart. A server has a handful.
pub const MOST: usize = 64;

/// Causes of a device that are told apart; there are ten.
const CAUSES: usize = 16;

/// All devices.
#[derive(Default)]
pub struct Devices {
    known: Vec<DeviceTotals>,
    /// Hangs of those beyond [`MOST`].
    pub others: HangTotals,
}

/// One of them.
pub struct DeviceTotals {
    sum: DeviceSummary,
    /// Of each cause, the hang that explains it best: whether it met the device itself, and how long it was.
    best: Vec<Option<(bool, Nanos)>>,
}

impl Devices {
    /// The one that is named; `None` if there are too many.
    pub fn get<T: AsRef<str>>(&mut self, named: &Device<T>) -> Option<&mut DeviceTotals> {
        let is_named = |device: &Device| {
            device.address == named.address.as_ref() && device.transport == named.transport
        };
        let place = self.known.iter().position(|of| is_named(&of.sum.device));
        let place = match place {
            Some(place) => place,
            None if self.known.len() < MOST => {
                self.known.push(DeviceTotals::new(named, self.known.len()));
                self.known.len() - 1
            }
            None => return None,
        };
        self.known.get_mut(place)
    }

    /// How many things are kept.
    pub fn kept(&self) -> usize {
        self.known.iter().map(|of| 1 + of.sum.causes.len()).sum()
    }

    /// The one that cost most first.
    pub fn finish(self) -> Vec<DeviceSummary> {
        let mut devices: Vec<_> = self.known.into_iter().map(|of| of.sum).collect();
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
            sum: DeviceSummary {
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
        self.sum.lane
    }

    /// It held up a request, which met it itself or queued first. Whether no other hang explains the cause better: the
    /// longest of those that met it.
    pub fn hang(&mut self, cause: &Name<Cause>, blocked: Nanos, met_it: bool) -> bool {
        self.sum.total.add(blocked);
        self.sum.longest_ns = self.sum.longest_ns.max(blocked);
        let place = self.cause(cause);
        self.sum.causes[place].total.add(blocked);
        let this = Some((met_it, blocked));
        let is_best = this > self.best[place];
        self.best[place] = self.best[place].max(this);
        is_best
    }

    /// In the words of its longest hang.
    pub fn explain(&mut self, cause: &Name<Cause>, explanation: &str) {
        let place = self.cause(cause);
        self.sum.causes[place].explanation = shortened(explanation);
    }

    /// It failed a request at once.
    pub fn refusal(&mut self, cause: &Name<Cause>, explanation: &str) {
        self.sum.refusals += 1;
        let place = self.cause(cause);
        let cause = &mut self.sum.causes[place];
        cause.refusals += 1;
        if cause.explanation.is_empty() {
            cause.explanation = shortened(explanation);
        }
    }

    /// Requests were seen to queue for it.
    pub fn waiting(&mut self, waiting: u64) {
        self.sum.most_waiting = self.sum.most_waiting.max(waiting);
    }

    /// It did not acknowledge entries.
    pub fn lost(&mut self, lost: Lost, pending: bool) {
        let of = &mut self.sum;
        let sum = if pending {
            &mut of.pending
        } else {
            &mut of.lost
        };
        sum.add(lost);
    }

    /// It was about to be full.
    pub fn filling(&mut self) {
        self.sum.fillings += 1;
    }

    /// It had a bad time.
    pub fn incident(&mut self, is_open: bool) {
        self.sum.incidents += 1;
        self.sum.incidents_open += u64::from(is_open);
    }

    fn cause(&mut self, name: &Name<Cause>) -> usize {
        let causes = &mut self.sum.causes;
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
    /// And these.
    pub fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.is_lower_bound |= other.is_lower_bound;
    }
}
