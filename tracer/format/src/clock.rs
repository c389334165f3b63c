//! Kernel time to the time on the operator's clock.

use jiff::Timestamp;
use tracer_model::{Nanos, Session};

use crate::Time;

/// `CLOCK_REALTIME` - `CLOCK_MONOTONIC`, as the session gives it.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    offset: i64,
}

impl WallClock {
    /// As taken when the session began.
    pub fn of(session: &Session) -> Self {
        Self {
            offset: session.wall_offset,
        }
    }

    /// With `CLOCK_REALTIME` - `CLOCK_MONOTONIC`, ns.
    pub fn of_offset(offset: i64) -> Self {
        Self { offset }
    }

    /// The time of day of a kernel time.
    pub fn time(self, at: Nanos) -> Time {
        let since_epoch = i128::from(self.offset) + i128::from(at);
        Time(Timestamp::from_nanosecond(since_epoch).unwrap_or_default())
    }
}
