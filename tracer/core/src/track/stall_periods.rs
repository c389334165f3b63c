//! Since when each audit device has been stalled without a break. Only one request at a time is in a device, so nobody can
//! have queued for it before, and the next one of the queue goes in when the one before has given up.

use rustc_hash::FxHashMap;
use tracer_model::{Actor, Device, Nanos, RequestSeq};

/// From one holder's last act to the next holder's first, ns: more than a busy machine makes of it.
pub(crate) const HANDOVER: Nanos = 50_000_000;

/// Fifty requests whose entries are formatted at once kept two processors busy for 113 ms before the next one dialled, and others
/// queued by then. So a device that was stalled that many ns before is not known to have been free since.
const BUSY: Nanos = 1_000_000_000;

/// Devices beyond which none is remembered that is not stalled now.
const MAX_DEVICES: usize = 1024;

/// One device's stalls in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StallPeriod {
    /// When the first began.
    pub(crate) since: Nanos,
    /// The device was not stalled before then.
    pub(crate) not_before: Nanos,
    /// Nobody queued for the device before then, not even while it was busy between two stalls.
    pub(crate) not_queued_before: Nanos,
    /// Which request was in the device last, if it is known.
    pub(crate) by: Option<RequestSeq>,
    /// Who made that request's system call.
    actor: Actor,
    until: Nanos,
    open: u32,
    /// Records were lost since: it may have ended.
    in_doubt: bool,
}

/// All devices that are stalled, or were lately.
#[derive(Debug, Default)]
pub(crate) struct StallPeriods(FxHashMap<Device, StallPeriod>);

impl StallPeriods {
    /// Somebody begins to wait in the device; `not_before`: of one that was never seen to work, the beginning of the trace.
    pub(crate) fn wait_began(
        &mut self,
        device: &Device,
        (not_before, at): (Nanos, Nanos),
        (by, actor): (Option<RequestSeq>, Actor),
    ) {
        if self.0.len() >= MAX_DEVICES {
            self.0.retain(|_, period| period.open > 0);
        }
        let period = self.0.entry(device.clone()).or_insert(StallPeriod {
            since: at,
            not_before,
            not_queued_before: not_before,
            by,
            actor,
            until: at,
            open: 0,
            in_doubt: false,
        });
        if std::mem::take(&mut period.in_doubt) {
            period.since = at;
        }
        if !period.covers(at) {
            (period.since, period.not_before) = (at, at);
            if at.saturating_sub(period.until) > BUSY {
                period.not_queued_before = at;
            }
        }
        (period.by, period.actor) = (by, actor);
        period.open += 1;
    }

    /// That wait is over.
    pub(crate) fn wait_ended(&mut self, device: &Device, at: Nanos) {
        if let Some(period) = self.0.get_mut(device) {
            period.open = period.open.saturating_sub(1);
            period.until = period.until.max(at);
        }
    }

    /// Records were lost: the stalls that go on may be over.
    pub(crate) fn records_lost(&mut self) {
        for period in self.0.values_mut() {
            period.in_doubt = period.open > 0;
        }
    }

    /// What was known by the one address is the other device's.
    pub(crate) fn rename(&mut self, from: &Device, to: &Device) {
        let Some(period) = self.0.remove(from) else {
            return;
        };
        let known = self
            .0
            .entry(to.clone())
            .or_insert(StallPeriod { open: 0, ..period });
        known.since = known.since.min(period.since);
        known.not_before = known.not_before.min(period.not_before);
        known.not_queued_before = known.not_queued_before.min(period.not_queued_before);
        known.until = known.until.max(period.until);
        if period.by.is_some() {
            (known.by, known.actor) = (period.by, period.actor);
        }
        known.open += period.open;
        known.in_doubt |= period.in_doubt;
    }

    /// How many devices are remembered.
    pub(crate) fn kept(&self) -> usize {
        self.0.len()
    }

    /// When the oldest stall that goes on began.
    pub(crate) fn oldest_open(&self) -> Option<Nanos> {
        let open = self.0.values().filter(|period| period.open > 0);
        open.map(|period| period.since).min()
    }

    /// The stalls that certainly go on now, or ended just before.
    pub(crate) fn certain(&self, device: &Device, now: Nanos) -> Option<StallPeriod> {
        self.current(device, now).filter(|period| !period.in_doubt)
    }

    /// The same, and those that may have ended among lost records.
    pub(crate) fn current(&self, device: &Device, now: Nanos) -> Option<StallPeriod> {
        self.0.get(device).filter(|p| p.covers(now)).copied()
    }
}

impl StallPeriod {
    /// When the last of its stalls ended, if none goes on.
    pub(crate) fn ended(&self) -> Option<Nanos> {
        (self.open == 0).then_some(self.until)
    }

    /// Whether this goroutine was in the device last, or the one that dialled for it.
    pub(crate) fn was_in_it(&self, goid: u64) -> bool {
        [self.actor.goid, self.actor.parent].contains(&Some(goid))
    }

    fn covers(&self, now: Nanos) -> bool {
        self.open > 0 || now.saturating_sub(self.until) <= HANDOVER
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::Transport;

    use super::*;

    /// Found in a lab with fifty clients: 113 ms after a stall, others queued for the device before the next one was seen to dial.
    #[test]
    fn a_device_that_was_stalled_shortly_before_may_have_been_queued_for_meanwhile() {
        for (pause, stalled, queued) in [
            (HANDOVER, 1, 1),
            (2 * HANDOVER, 100 + 2 * HANDOVER, 1),
            // The twin: nobody queued since then.
            (2 * BUSY, 100 + 2 * BUSY, 100 + 2 * BUSY),
        ] {
            let device = Device::new(Transport::Tcp, "10.0.0.2:1515");
            let mut periods = StallPeriods::default();
            let again = 100 + pause;
            periods.wait_began(&device, (1, 1), (None, Actor::default()));
            periods.wait_ended(&device, 100);
            periods.wait_began(&device, (again, again), (None, Actor::default()));
            let period = periods.current(&device, again).expect("it is stalled");
            let found = (period.since, period.not_before, period.not_queued_before);
            assert_eq!(found, (stalled, stalled, queued), "{pause}");
        }
    }

    #[test]
    fn a_stall_whose_end_may_be_lost_shows_nobody_who_queues() {
        let device = Device::new(Transport::Tcp, "10.0.0.2:1515");
        for (is_lost, expected) in [(false, Some(1)), (true, None)] {
            let mut periods = StallPeriods::default();
            periods.wait_began(&device, (1, 1), (None, Actor::default()));
            if is_lost {
                periods.records_lost();
            }
            let since = |periods: &StallPeriods| Some(periods.certain(&device, 500)?.since);
            assert_eq!(since(&periods), expected);
            assert!(periods.current(&device, 500).is_some());
            // Who waits next certainly does.
            periods.wait_began(&device, (400, 400), (None, Actor::default()));
            assert_eq!(since(&periods), expected.or(Some(400)));
        }
    }
}
