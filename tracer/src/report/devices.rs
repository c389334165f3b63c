//! What each device did, and why.

use super::{
    record::{DeviceRef, Nanos},
    summary::{Lost, OfCause, OfDevice},
    tally::Tally,
    words,
};

/// Devices that are told apart. A server has a handful.
pub const MOST: usize = 64;

/// Causes of a device that are told apart; there are ten.
const CAUSES: usize = 16;

/// All devices.
#[derive(Default)]
pub struct Devices {
    known: Vec<Of>,
    /// Hangs of those beyond [`MOST`].
    pub others: Tally,
}

/// One of them.
pub struct Of {
    sum: OfDevice,
    /// Of each cause, the hang that explains it best: whether it met the device itself, and how long it was.
    best: Vec<Option<(bool, Nanos)>>,
}

impl Devices {
    /// The one that is named; `None` if there are too many.
    pub fn get(&mut self, named: &DeviceRef<'_>) -> Option<&mut Of> {
        let place = self.known.iter().position(|of| named.is(&of.sum.device));
        let place = match place {
            Some(place) => place,
            None if self.known.len() < MOST => {
                self.known.push(Of::new(named, self.known.len()));
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
    pub fn finish(self) -> Vec<OfDevice> {
        let mut devices: Vec<_> = self.known.into_iter().map(|of| of.sum).collect();
        for device in &mut devices {
            (device.causes).sort_by_key(|cause| std::cmp::Reverse((cause.total, cause.refusals)));
        }
        devices.sort_by(|a, b| {
            let size = |of: &OfDevice| (of.total, of.refusals, of.lost.entries);
            size(b).cmp(&size(a)).then_with(|| a.device.cmp(&b.device))
        });
        devices
    }
}

impl Of {
    fn new(device: &DeviceRef<'_>, lane: usize) -> Self {
        Self {
            sum: OfDevice {
                device: device.to_device(),
                total: Tally::default(),
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
    pub fn hang(&mut self, cause: &str, blocked: Nanos, met_it: bool) -> bool {
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
    pub fn explain(&mut self, cause: &str, explanation: &str) {
        let place = self.cause(cause);
        self.sum.causes[place].explanation = words::short(explanation);
    }

    /// It failed a request at once.
    pub fn refusal(&mut self, cause: &str, explanation: &str) {
        self.sum.refusals += 1;
        let place = self.cause(cause);
        let cause = &mut self.sum.causes[place];
        cause.refusals += 1;
        if cause.explanation.is_empty() {
            cause.explanation = words::short(explanation);
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

    fn cause(&mut self, name: &str) -> usize {
        let causes = &mut self.sum.causes;
        let known = causes.iter().position(|cause| cause.cause == name);
        known.unwrap_or_else(|| {
            if causes.len() < CAUSES {
                self.best.push(None);
                causes.push(OfCause {
                    cause: words::short(name),
                    total: Tally::default(),
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
