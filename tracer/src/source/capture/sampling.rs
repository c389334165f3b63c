//! When to sample the server's goroutines while the programs buffer: only samples show stalls of devices without a
//! socket of their own.

use std::time::Duration;

use anyhow::Result;
use tracer_model::Nanos;

/// Bounds of the pause between two samples. A stall that no socket shows is found as late as that.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The pause is this many times what a sample uses: half a percent of a processor.
const PAUSE_FACTOR: u32 = 200;

/// Shortest pause while clients send nothing.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// Samples after clients have sent something for the last time: who is blocked then is stuck in two of them.
const SAMPLES_AFTER: u32 = 3;

/// Each false alarm in a row doubles the pause, up to this many times.
const MOST_ALARMS: u32 = 5;

/// Paces the samples.
#[derive(Debug, Default)]
pub(crate) struct SamplePacer {
    /// When the next sample is due.
    due: Nanos,
    /// The same while clients send nothing.
    due_if_idle: Nanos,
    /// Samples in a row before which clients had sent nothing.
    idle_samples: u32,
    /// What the last sample used of a processor. How long it took says nothing where others use the processor too.
    took: Duration,
    /// Receives from clients at the last sample. `None` before the first, so that two samples are taken soon: they show
    /// a stall that began before the trace.
    receives: Option<u64>,
    /// A sample has ended buffering, and no finding has come of it yet.
    is_alarmed: bool,
    /// False alarms in a row.
    alarms: u32,
}

impl SamplePacer {
    /// `receives`: reads how many receives from clients there were so far.
    pub(crate) fn is_due(
        &self,
        now: Nanos,
        receives: impl FnOnce() -> Result<u64>,
    ) -> Result<bool> {
        if now < self.due {
            return Ok(false);
        }
        if now >= self.due_if_idle || self.idle_samples < SAMPLES_AFTER {
            return Ok(true);
        }
        Ok(self.receives != Some(receives()?))
    }

    /// A sample begins. `receives`: receives from clients so far.
    pub(crate) fn begin(&mut self, now: Nanos, receives: u64) {
        let is_idle = self.receives.replace(receives) == Some(receives);
        self.idle_samples = if is_idle { self.idle_samples + 1 } else { 0 };
        let (least, most) = PAUSE;
        let pause = (self.took * (PAUSE_FACTOR << self.alarms)).clamp(least, most);
        self.due = now + pause.as_nanos() as Nanos;
        self.due_if_idle = now + pause.max(IDLE_PAUSE).as_nanos() as Nanos;
    }

    pub(crate) fn finish(&mut self, took: Duration) {
        self.took = took;
    }

    pub(crate) fn alarm(&mut self) {
        self.is_alarmed = true;
    }

    pub(crate) fn confirm_alarm(&mut self) {
        self.is_alarmed = false;
    }

    /// Buffering begins again: an alarm that nothing has come of was false.
    pub(crate) fn settle_alarm(&mut self) {
        self.alarms = if self.is_alarmed {
            (self.alarms + 1).min(MOST_ALARMS)
        } else {
            0
        };
        self.is_alarmed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    /// The pause after a sample that took this long, while clients are active.
    fn pause(pacer: &mut SamplePacer, took: Duration) -> Nanos {
        pacer.finish(took);
        let receives = pacer.receives.map_or(0, |receives| receives + 1);
        pacer.begin(0, receives);
        pacer.due / MS
    }

    #[test]
    fn samples_take_half_a_percent_within_bounds() {
        let mut pacer = SamplePacer::default();
        assert!(pacer.is_due(0, || Ok(0)).expect("readable"));
        let pauses =
            [10, 1_000, 5_000, 50_000].map(|us| pause(&mut pacer, Duration::from_micros(us)));
        assert_eq!(pauses, [100, 200, 1_000, 2_000]);
    }

    #[test]
    fn an_idle_server_is_sampled_once_a_second() {
        let mut pacer = SamplePacer::default();
        let is_due = |pacer: &SamplePacer, at: Nanos, receives: u64| {
            pacer.is_due(at * MS, || Ok(receives)).expect("readable")
        };
        pacer.begin(0, 7);
        for _ in 0..SAMPLES_AFTER {
            assert!(!is_due(&pacer, 99, 7) && is_due(&pacer, 100, 7));
            pacer.begin(0, 7);
        }
        assert!(!is_due(&pacer, 999, 7) && is_due(&pacer, 1_000, 7));
        assert!(is_due(&pacer, 100, 8), "a client has sent something");
        pacer.begin(0, 8);
        assert!(is_due(&pacer, 100, 8));
    }

    #[test]
    fn false_alarms_in_a_row_make_samples_rarer() {
        let mut pacer = SamplePacer::default();
        let took = Duration::from_millis(1);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            pacer.alarm();
            pacer.settle_alarm();
            pauses.push(pause(&mut pacer, took));
        }
        assert_eq!(pauses, [400, 800, 1_600]);
        pacer.alarm();
        pacer.confirm_alarm();
        pacer.settle_alarm();
        assert_eq!(pause(&mut pacer, took), 200);
    }
}
