//! The state of the live view: findings and snapshots, and what the operator chose to see of them. Pure.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc};

use tracer_format::{WallClock, text::count};

use crate::sink::outage::Outages;
use tracer_model::{Condition, Device, DeviceSnapshot, Finding, Hang, Nanos, Session, Snapshot};

/// Latest hangs that are kept; the report and the trace have all.
const MAX_HANGS: usize = 200;

/// Time over which rates are averaged, ns.
const RATE_WINDOW: Nanos = 5_000_000_000;

/// The data that is shown at one moment.
#[derive(Clone, Debug, Default)]
pub struct ViewData {
    pub(super) clock: WallClock,
    pub(super) session: Option<Session>,
    /// Those of the rate window, the latest last. Only that one has its stalls.
    snapshots: VecDeque<Snapshot>,
    hangs: VecDeque<PastHang>,
    /// Those that go on.
    pub(super) outages: Outages,
    /// Of the whole trace.
    pub(super) hang_count: u64,
    /// The last warning or line for standard error.
    pub(super) message: Option<String>,
    pub(super) has_ended: bool,
}

/// A hang that is over.
#[derive(Clone, Debug)]
pub(super) struct PastHang {
    /// Counts from 1.
    pub(super) number: u64,
    pub(super) hang: Arc<Hang>,
}

/// The order of the hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Latest first.
    #[default]
    Time,
    /// Longest first.
    Duration,
    /// By device, latest first.
    Device,
}

impl SortOrder {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Duration => "duration",
            Self::Device => "device",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Time => Self::Duration,
            Self::Duration => Self::Device,
            Self::Device => Self::Time,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    Overview,
    Hang,
    Help,
}

/// The data, and what the operator chose to see of it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    current: ViewData,
    /// A copy that is shown while the view is paused.
    paused: Option<Box<ViewData>>,
    pub(super) sort: SortOrder,
    pub(super) page: Page,
    /// The number of the chosen hang.
    chosen: Option<u64>,
    pub(super) scroll: usize,
}

impl Model {
    /// The data to be shown.
    pub fn data(&self) -> &ViewData {
        self.paused.as_deref().unwrap_or(&self.current)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Adds a finding to the data.
    pub fn apply(&mut self, finding: &Finding) {
        self.current.apply(finding);
    }

    pub(super) fn show_message(&mut self, message: String) {
        self.current.message = Some(message);
    }

    pub(super) fn toggle_pause(&mut self) {
        self.paused = match self.paused {
            None => Some(Box::new(self.current.clone())),
            Some(_) => None,
        };
    }

    /// Shows the chosen hang, or the first if none is chosen.
    pub(super) fn inspect(&mut self) {
        if self.page == Page::Overview && !self.data().hangs.is_empty() {
            self.chosen = self.chosen().map(|past| past.number);
            self.scroll = 0;
            self.page = Page::Hang;
        }
    }

    pub(super) fn up(&mut self, rows: usize) {
        match self.page {
            Page::Overview => self.choose(|index| index.saturating_sub(rows)),
            Page::Hang | Page::Help => self.scroll = self.scroll.saturating_sub(rows),
        }
    }

    pub(super) fn down(&mut self, rows: usize) {
        match self.page {
            Page::Overview => self.choose(|index| index.saturating_add(rows)),
            // Limited by the text when it is drawn.
            Page::Hang | Page::Help => self.scroll = self.scroll.saturating_add(rows),
        }
    }

    fn choose(&mut self, moved: impl Fn(usize) -> usize) {
        let hangs = self.hangs();
        let index = match self.chosen_index() {
            // The first key only shows what is chosen.
            None => 0,
            Some(index) => moved(index).min(hangs.len().saturating_sub(1)),
        };
        self.chosen = hangs.get(index).map(|past| past.number);
    }

    /// The row of the chosen hang.
    pub(super) fn chosen_index(&self) -> Option<usize> {
        let chosen = self.chosen?;
        self.hangs().iter().position(|past| past.number == chosen)
    }

    /// The chosen hang, or the first if none is chosen.
    pub(super) fn chosen(&self) -> Option<PastHang> {
        let index = self.chosen_index().unwrap_or(0);
        self.hangs().get(index).map(|past| (*past).clone())
    }

    /// Hangs in the chosen order.
    pub(super) fn hangs(&self) -> Vec<&PastHang> {
        let mut hangs: Vec<_> = self.data().hangs.iter().rev().collect();
        match self.sort {
            SortOrder::Time => {}
            SortOrder::Duration => hangs.sort_by_key(|past| Reverse(past.hang.duration)),
            SortOrder::Device => hangs.sort_by(|a, b| a.hang.device.cmp(&b.hang.device)),
        }
        hangs
    }
}

impl ViewData {
    fn apply(&mut self, finding: &Finding) {
        self.outages.add(finding);
        match finding {
            Finding::Session(session) | Finding::Attached(session) => {
                self.clock = WallClock::of(session);
                self.session = Some(session.clone());
            }
            Finding::Snapshot(snapshot) => self.add_snapshot(snapshot),
            Finding::Hang(hang) => self.add_hang(hang),
            Finding::Warning(warning) => self.message = Some(warning.clone()),
            Finding::Ended(ended) => {
                let under_way = match ended.under_way {
                    0 => String::new(),
                    several => format!(" with {} under way", count(several, "request")),
                };
                self.message = Some(format!("the server ended{under_way}"));
            }
            Finding::Summary(_) => self.has_ended = true,
            // Shown as outages, as the devices' conditions, and in the report.
            Finding::Stalled(_)
            | Finding::Refusal(_)
            | Finding::LostEntries(_)
            | Finding::Filling(_)
            | Finding::Forwarded(_)
            | Finding::Incident(_) => {}
        }
    }

    fn add_snapshot(&mut self, snapshot: &Snapshot) {
        if let Some(previous) = self.snapshots.back_mut() {
            previous.stalls = Vec::new();
        }
        self.snapshots.push_back(snapshot.clone());
        let oldest = snapshot.at.saturating_sub(RATE_WINDOW);
        while self.snapshots.len() > 2 && self.snapshots[0].at < oldest {
            self.snapshots.pop_front();
        }
    }

    fn add_hang(&mut self, hang: &Hang) {
        self.hang_count += 1;
        if self.hangs.len() == MAX_HANGS {
            self.hangs.pop_front();
        }
        self.hangs.push_back(PastHang {
            number: self.hang_count,
            hang: Arc::new(hang.clone()),
        });
    }

    /// The latest snapshot.
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshots.back()
    }

    /// Requests and writes to audit sockets per second.
    pub(super) fn rates(&self) -> Option<(f64, f64)> {
        let (first, last, seconds) = self.window()?;
        let (first, last) = (&first.totals, &last.totals);
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        Some((
            rate(first.requests, last.requests),
            rate(first.audit_writes, last.audit_writes),
        ))
    }

    /// Bytes per second that a device took.
    pub(super) fn bytes_rate(&self, device: &Device) -> Option<f64> {
        let (first, last, seconds) = self.window()?;
        let before = find(first, device)?.bytes?;
        let after = find(last, device)?.bytes?;
        Some(after.saturating_sub(before) as f64 / seconds)
    }

    /// Time until a device's send buffer is full at its current rate, ns.
    pub(super) fn full_in(&self, device: &Device) -> Option<Nanos> {
        let (first, last, seconds) = self.window()?;
        let before = find(first, device)?.buffer?;
        let after = find(last, device)?.buffer?;
        let grown = after.queued.checked_sub(before.queued);
        let rate = grown.filter(|grown| *grown > 0)? as f64 / seconds;
        let free = after.limit.saturating_sub(after.queued) as f64;
        Some((free / rate * 1e9) as Nanos)
    }

    fn window(&self) -> Option<(&Snapshot, &Snapshot, f64)> {
        let (first, last) = (self.snapshots.front()?, self.snapshots.back()?);
        let nanos = last.at.checked_sub(first.at).filter(|nanos| *nanos > 0)?;
        Some((first, last, nanos as f64 / 1e9))
    }
}

fn find<'a>(snapshot: &'a Snapshot, device: &Device) -> Option<&'a DeviceSnapshot> {
    snapshot.devices.iter().find(|d| d.device == *device)
}

/// Severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Good,
    #[default]
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
