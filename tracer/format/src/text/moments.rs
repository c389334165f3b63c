//! Times of day.

use jiff::tz::TimeZone;
use tracer_model::Nanos;

use crate::Time;

/// `2026-11-25 04:22:08.728Z`
pub fn moment(at: Time) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// `04:22:08.728Z`
pub fn clock(at: Time) -> String {
    at.strftime("%H:%M:%S%.3fZ").to_string()
}

/// From one to the other. The second has no date if it is that of the first.
pub fn span(start: Time, end: Time) -> String {
    let day = |at: Time| at.to_zoned(TimeZone::UTC).date();
    let to = if day(start) == day(end) {
        clock
    } else {
        moment
    };
    format!("{} to {}", moment(start), to(end))
}

/// Time from one to the other; 0 if they are the other way round.
pub fn between(start: Time, end: Time) -> Nanos {
    let nanos = end.as_nanosecond() - start.as_nanosecond();
    Nanos::try_from(nanos.max(0)).unwrap_or(Nanos::MAX)
}
