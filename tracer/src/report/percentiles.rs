//! Durations of any number of hangs in little room, and their percentiles.

use hdrhistogram::Histogram;
use tracer_model::Nanos;

use super::summary::Percentiles;

/// The relative precision: three digits.
const DIGITS: u8 = 3;
const PRECISION: f64 = 0.001;

/// Longer ones, in ns, count as this: 146 years.
const LONGEST: Nanos = 1 << 62;

/// Durations in ns.
#[derive(Debug)]
pub(super) struct HangDurations(Histogram<u64>);

impl Default for HangDurations {
    fn default() -> Self {
        let buckets = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Self(buckets.expect("a range and a precision that it has"))
    }
}

impl HangDurations {
    pub(super) fn add(&mut self, duration: Nanos) {
        self.0.saturating_record(duration);
    }

    /// How many buckets are kept.
    pub(super) fn kept(&self) -> usize {
        self.0.distinct_values()
    }

    /// `longest`: of them all; the upper end of its bucket may be longer. `None` if there are none.
    pub(super) fn percentiles(&self, longest: Nanos) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| self.0.value_at_quantile(quantile).min(longest);
        Some(Percentiles {
            precision: PRECISION,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
        })
    }
}
