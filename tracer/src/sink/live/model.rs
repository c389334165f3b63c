//! What the live view shows: made of findings and of how things stand; pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::sink::wall::WallClock;
use tracer_model::{Condition, Device, DeviceSnapshot, Finding, Hang, Nanos, Session, Snapshot};

/// Hangs that are kept; the report and the trace have all.
const HANGS: usize = 200;

/// Over which rates are taken, ns.
const WINDOW: Nanos = 5_000_000_000;

/// What a view shows at one moment.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub(super) clock: WallClock,
    pub(super) session: Option<Session>,
    pub(super) state: Option<Snapshot>,
    samples: VecDeque<Sample>,
    hangs: VecDeque<Past>,
    /// How many there were.
    pub(super) told: u64,
    /// What was said last beside all this.
    pub(super) note: Option<String>,
    pub(super) has_ended: bool,
}

/// A hang that is over.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) number: u64,
    pub(super) hang: Arc<Hang>,
}

/// The counters at one time.
#[derive(Clone, Debug)]
struct Sample {
    at: Nanos,
    requests: u64,
    writes: u64,
    devices: BTreeMap<Device, Counters>,
}

#[derive(Clone, Copy, Debug)]
struct Counters {
    bytes: Option<u64>,
    queued: Option<u64>,
}

/// In which order hangs stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Latest first.
    #[default]
    Time,
    /// Longest first.
    Duration,
    /// By device, latest first.
    Device,
}

impl Sort {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Time => "time",
            Sort::Duration => "duration",
            Sort::Device => "device",
        }
    }
}

/// What is to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    Overview,
    Hang,
    Help,
}

/// A picture, and what the operator does with it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    now: Picture,
    /// While it stands still.
    still: Option<Box<Picture>>,
    pub(super) sort: Sort,
    pub(super) page: Page,
    /// The chosen hang's number.
    chosen: Option<u64>,
    pub(super) scrolled: usize,
}

impl Model {
    /// What is to be seen.
    pub fn picture(&self) -> &Picture {
        self.still.as_deref().unwrap_or(&self.now)
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.still.is_some()
    }

    /// Takes a finding.
    pub fn take(&mut self, finding: &Finding) {
        self.now.take(finding);
    }

    /// Takes what was said beside the findings.
    pub fn note(&mut self, said: Option<String>) {
        if said.is_some() {
            self.now.note = said;
        }
    }

    /// Stands still, or goes on.
    pub(super) fn pause(&mut self) {
        self.still = match self.still {
            None => Some(Box::new(self.now.clone())),
            Some(_) => None,
        };
    }

    pub(super) fn sort_otherwise(&mut self) {
        self.sort = match self.sort {
            Sort::Time => Sort::Duration,
            Sort::Duration => Sort::Device,
            Sort::Device => Sort::Time,
        };
    }

    pub(super) fn help(&mut self) {
        self.page = Page::Help;
    }

    pub(super) fn back(&mut self) {
        self.page = Page::Overview;
    }

    /// Shows the chosen hang, the first if none is.
    pub(super) fn inspect(&mut self) {
        if self.page == Page::Overview && !self.picture().hangs.is_empty() {
            self.chosen = self.chosen().map(|past| past.number);
            self.scrolled = 0;
            self.page = Page::Hang;
        }
    }

    pub(super) fn up(&mut self, rows: usize) {
        match self.page {
            Page::Overview => self.choose(|at| at.saturating_sub(rows)),
            Page::Hang | Page::Help => self.scrolled = self.scrolled.saturating_sub(rows),
        }
    }

    pub(super) fn down(&mut self, rows: usize) {
        match self.page {
            Page::Overview => self.choose(|at| at.saturating_add(rows)),
            // What is there ends it.
            Page::Hang | Page::Help => self.scrolled = self.scrolled.saturating_add(rows),
        }
    }

    fn choose(&mut self, other: impl Fn(usize) -> usize) {
        let hangs = self.hangs();
        let index = match self.chosen_index() {
            // The first key only shows what is chosen.
            None => 0,
            Some(index) => other(index).min(hangs.len().saturating_sub(1)),
        };
        self.chosen = hangs.get(index).map(|past| past.number);
    }

    /// Where the chosen hang stands.
    pub(super) fn chosen_index(&self) -> Option<usize> {
        let chosen = self.chosen?;
        self.hangs().iter().position(|past| past.number == chosen)
    }

    /// The chosen hang, else the first.
    pub(super) fn chosen(&self) -> Option<Past> {
        let index = self.chosen_index().unwrap_or(0);
        self.hangs().get(index).map(|past| (*past).clone())
    }

    /// Hangs, sorted.
    pub(super) fn hangs(&self) -> Vec<&Past> {
        let mut hangs: Vec<_> = self.picture().hangs.iter().rev().collect();
        match self.sort {
            Sort::Time => {}
            Sort::Duration => hangs.sort_by_key(|past| Reverse(past.hang.duration)),
            Sort::Device => hangs.sort_by(|a, b| a.hang.device.cmp(&b.hang.device)),
        }
        hangs
    }
}

impl Picture {
    fn take(&mut self, finding: &Finding) {
        match finding {
            Finding::Session(session) | Finding::Attached(session) => {
                self.clock = WallClock::of(session);
                self.session = Some(session.clone());
            }
            Finding::Snapshot(state) => self.stands(state),
            Finding::Hang(hang) => self.hung(hang),
            Finding::Warning(warning) => self.note = Some(warning.clone()),
            Finding::Summary(_) => self.has_ended = true,
            // They show in the devices' states; the report tells them.
            Finding::Stalled(_)
            | Finding::Refusal(_)
            | Finding::LostEntries(_)
            | Finding::Filling(_)
            | Finding::Incident(_)
            | Finding::Ended(_) => {}
        }
    }

    fn stands(&mut self, state: &Snapshot) {
        self.samples.push_back(Sample::of(state));
        let newest = state.at;
        while self.samples.len() > 2 && self.samples.front().is_some_and(|s| s.at + WINDOW < newest)
        {
            self.samples.pop_front();
        }
        self.state = Some(state.clone());
    }

    fn hung(&mut self, hang: &Hang) {
        self.told += 1;
        if self.hangs.len() == HANGS {
            self.hangs.pop_front();
        }
        self.hangs.push_back(Past {
            number: self.told,
            hang: Arc::new(hang.clone()),
        });
    }

    /// Requests and writes to audit sockets a second, lately.
    pub(super) fn rates(&self) -> Option<(f64, f64)> {
        let (first, last, seconds) = self.window()?;
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        Some((
            rate(first.requests, last.requests),
            rate(first.writes, last.writes),
        ))
    }

    /// Bytes that a device took a second, lately.
    pub(super) fn bytes_rate(&self, device: &Device) -> Option<f64> {
        let (first, last, seconds) = self.window()?;
        let before = first.devices.get(device)?.bytes?;
        let after = last.devices.get(device)?.bytes?;
        Some(after.saturating_sub(before) as f64 / seconds)
    }

    /// When its send buffer will be full if it goes on as lately, ns.
    pub(super) fn full_in(&self, device: &DeviceSnapshot) -> Option<Nanos> {
        let (first, last, seconds) = self.window()?;
        let before = first.devices.get(&device.device)?.queued?;
        let after = last.devices.get(&device.device)?.queued?;
        let rate = after.checked_sub(before).filter(|grown| *grown > 0)? as f64 / seconds;
        let left = device.buffer?.limit.saturating_sub(after) as f64;
        Some((left / rate * 1e9) as Nanos)
    }

    fn window(&self) -> Option<(&Sample, &Sample, f64)> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let nanos = last.at.checked_sub(first.at).filter(|nanos| *nanos > 0)?;
        Some((first, last, nanos as f64 / 1e9))
    }
}

impl Sample {
    fn of(state: &Snapshot) -> Self {
        let devices = state.devices.iter().map(|state| {
            let counters = Counters {
                bytes: state.bytes,
                queued: state.buffer.map(|buffer| buffer.queued),
            };
            (state.device.clone(), counters)
        });
        Self {
            at: state.at,
            requests: state.totals.requests,
            writes: state.totals.audit_writes,
            devices: devices.collect(),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Good,
    Unknown,
    Warning,
    Bad,
}

impl Level {
    pub(super) fn of(condition: Option<Condition>) -> Self {
        match condition {
            Some(Condition::Works) => Level::Good,
            Some(Condition::Closed) | None => Level::Unknown,
            Some(Condition::Filling | Condition::Failing) => Level::Warning,
            Some(Condition::Stalled) => Level::Bad,
        }
    }
}
