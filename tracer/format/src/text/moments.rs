//! Times of day.

use jiff::{Timestamp, tz::TimeZone};
use tracer_model::Nanos;

/// `2026-11-25 04:22:08.728Z`
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// `04:22:08.728Z`
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S%.3fZ").to_string()
}

/// From one to the other. The second has no date if it is that of the first.
pub fn span(start: Timestamp, end: Timestamp) -> String {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let to = if day(start) == day(end) {
        clock
    } else {
        moment
    };
    format!("{} to {}", moment(start), to(end))
}

/// Time from one to the other; 0 if they are the other way round.
pub fn between(start: Timestamp, end: Timestamp) -> Nanos {
    let nanos = end.as_nanosecond() - start.as_nanosecond();
    Nanos::try_from(nanos.max(0)).unwrap_or(Nanos::MAX)
}
