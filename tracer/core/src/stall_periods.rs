//! Since when each audit device has been stalled without a break. Only one request at a time is in a
//! device, so nobody can have queued for it before, and who comes out of the queue does so when the
//! one before has given up.

use rustc_hash::FxHashMap;

use tracer_model::RequestSeq;
use tracer_model::{Device, Nanos};

/// From one holder's last act to the next one's first, ns: more than a busy machine makes of it.
const GAP: Nanos = 50_000_000;

/// Devices beyond which none is remembered that is not stalled now.
const DEVICES: usize = 1024;

/// One device's stalls in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallPeriod {
    /// When the first began.
    pub since: Nanos,
    /// Who was in the device last.
    pub by: RequestSeq,
    until: Nanos,
    open: u32,
}

/// All devices that are stalled, or were lately.
#[derive(Debug, Default)]
pub struct StallPeriods(FxHashMap<Device, StallPeriod>);

impl StallPeriods {
    /// A request begins to wait in the device.
    pub fn began(&mut self, device: &Device, at: Nanos, by: RequestSeq) {
        if self.0.len() >= DEVICES {
            self.0.retain(|_, span| span.open > 0);
        }
        let span = self.0.entry(device.clone()).or_insert(StallPeriod {
            since: at,
            by,
            until: at,
            open: 0,
        });
        if !span.goes_on(at) {
            span.since = at;
        }
        span.by = by;
        span.open += 1;
    }

    /// How many devices are remembered.
    pub fn kept(&self) -> usize {
        self.0.len()
    }

    /// It waits no more.
    pub fn ended(&mut self, device: &Device, at: Nanos) {
        if let Some(span) = self.0.get_mut(device) {
            span.open = span.open.saturating_sub(1);
            span.until = span.until.max(at);
        }
    }

    /// Since when the device has been stalled without a break that is so longest of all, ns.
    pub fn longest(&self) -> Option<Nanos> {
        let open = self.0.values().filter(|span| span.open > 0);
        open.map(|span| span.since).min()
    }

    /// The stalls that go on now, or ended just before.
    pub fn at(&self, device: &Device, now: Nanos) -> Option<StallPeriod> {
        self.0.get(device).filter(|span| span.goes_on(now)).copied()
    }
}

impl StallPeriod {
    fn goes_on(&self, now: Nanos) -> bool {
        self.open > 0 || now.saturating_sub(self.until) <= GAP
    }
}
