//! Kernel time to the time on the operator's clock.

use jiff::Timestamp;

use tracer_model::{Nanos, Session};

/// `CLOCK_REALTIME` - `CLOCK_MONOTONIC`, once the session told.
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

    /// When, in UTC.
    pub fn time(self, at: Nanos) -> Timestamp {
        let since_epoch = i128::from(self.offset) + i128::from(at);
        Timestamp::from_nanosecond(since_epoch).unwrap_or_default()
    }

    /// RFC 3339 in UTC with nanoseconds, as the trace format wants it.
    pub fn rfc3339(self, at: Nanos) -> String {
        format!("{:.9}", self.time(at))
    }
}
