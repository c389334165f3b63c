//! How many requests each device blocked over time, in bins that widen as the trace turns out to be longer.

use std::collections::BTreeMap;

use tracer_format::Time;
use tracer_model::Nanos;

/// Bins of a lane at most.
pub const MOST_BINS: i64 = 600;

/// Width at first, ns. Doubled as often as it takes.
const FIRST_WIDTH: i64 = 1 << 20;

/// Causes that are distinguished in a bin.
pub const CAUSES: usize = 12;

/// The timeline of all devices.
#[derive(Debug)]
pub struct Timeline {
    width: i64,
    /// The first bin and the last.
    range: Option<(i64, i64)>,
    lanes: Vec<TimelineRow>,
}

/// The bins of one device.
pub type TimelineRow = BTreeMap<i64, Bin>;

/// One bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Time that requests were blocked, by cause.
    pub blocked: [Nanos; CAUSES],
    /// Requests that the device failed without a hang.
    pub refusals: u32,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            width: FIRST_WIDTH,
            range: None,
            lanes: Vec::new(),
        }
    }
}

impl Timeline {
    /// Adds a hang to a lane.
    pub fn add_hang(&mut self, lane: usize, cause: usize, start: Time, end: Time) {
        let (start, end) = (nanos(start), nanos(end).max(nanos(start)));
        self.widen_to(start, end);
        let width = self.width;
        let lane = self.lane(lane);
        for place in start.div_euclid(width)..=end.div_euclid(width) {
            let from = start.max(place.saturating_mul(width));
            let to = end.min((place + 1).saturating_mul(width));
            let blocked = &mut lane.entry(place).or_default().blocked[cause.min(CAUSES - 1)];
            *blocked = blocked.saturating_add(to.saturating_sub(from).unsigned_abs());
        }
    }

    /// Adds a refusal to a lane.
    pub fn add_refusal(&mut self, lane: usize, at: Time) {
        let at = nanos(at);
        self.widen_to(at, at);
        let place = at.div_euclid(self.width);
        self.lane(lane).entry(place).or_default().refusals += 1;
    }

    /// Extends the timeline to a time at which something else happened.
    pub fn reach(&mut self, at: Time) {
        self.widen_to(nanos(at), nanos(at));
    }

    /// Its ends, ns since the epoch; `None` if it is empty.
    pub fn span(&self) -> Option<(i64, i64)> {
        let (first, last) = self.range?;
        let end = last.saturating_add(1).saturating_mul(self.width);
        Some((first.saturating_mul(self.width), end))
    }

    /// The width of a bin, ns.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// The bins of a device.
    pub fn bins(&self, lane: usize) -> impl Iterator<Item = (i64, &Bin)> {
        let bins = self.lanes.get(lane).into_iter().flatten();
        bins.map(|(place, bin)| (place.saturating_mul(self.width), bin))
    }

    /// Bins that are kept.
    pub fn kept(&self) -> usize {
        self.lanes.iter().map(BTreeMap::len).sum()
    }

    fn lane(&mut self, lane: usize) -> &mut TimelineRow {
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, TimelineRow::new);
        }
        &mut self.lanes[lane]
    }

    fn widen_to(&mut self, start: i64, end: i64) {
        loop {
            let (first, last) = (start.div_euclid(self.width), end.div_euclid(self.width));
            let (first, last) = match self.range {
                Some((begin, until)) => (first.min(begin), last.max(until)),
                None => (first, last),
            };
            if last - first < MOST_BINS {
                self.range = Some((first, last));
                return;
            }
            self.widen();
        }
    }

    fn widen(&mut self) {
        self.width *= 2;
        self.range = (self.range).map(|(first, last)| (first.div_euclid(2), last.div_euclid(2)));
        for lane in &mut self.lanes {
            let mut wider = TimelineRow::new();
            for (place, bin) in &*lane {
                let into = wider.entry(place.div_euclid(2)).or_default();
                into.refusals += bin.refusals;
                for (sum, part) in into.blocked.iter_mut().zip(bin.blocked) {
                    *sum = sum.saturating_add(part);
                }
            }
            *lane = wider;
        }
    }
}

/// Nanoseconds since the epoch; the ends of what fits for what does not.
pub fn nanos(at: Time) -> i64 {
    let exact = at.as_nanosecond();
    // Half of it, so that differences fit too.
    let limit = i128::from(i64::MAX / 2);
    exact.clamp(-limit, limit) as i64
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).expect("a time"))
    }

    #[test]
    fn the_sum_of_times_stays_when_bins_widen() {
        let mut timeline = Timeline::default();
        let mut sum = 0;
        for second in [0, 5, 4000, 90_000, -3000] {
            timeline.add_hang(1, 2, at(second), at(second + 7));
            sum += 7_000_000_000;
            assert!(timeline.kept() <= MOST_BINS as usize);
        }
        let kept: Nanos = timeline.bins(1).map(|(_, bin)| bin.blocked[2]).sum();
        assert_eq!(kept, sum);
        let (start, end) = timeline.span().expect("a span");
        assert!(start <= nanos(at(-3000)) && end >= nanos(at(90_007)));
        assert!((end - start) / timeline.width() <= MOST_BINS);
    }

    #[test]
    fn impossible_times_are_accepted() {
        let mut timeline = Timeline::default();
        timeline.add_hang(0, 0, Time(Timestamp::MIN), Time(Timestamp::MAX));
        timeline.add_hang(0, 99, at(5), at(1));
        timeline.add_refusal(3, at(2));
        assert!(timeline.kept() <= 2 * MOST_BINS as usize);
        assert_eq!(timeline.bins(3).count(), 1);
    }
}
