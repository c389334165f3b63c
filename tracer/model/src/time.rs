//! The unit of time.

/// Nanoseconds: of `CLOCK_MONOTONIC` where a point in time is meant.
pub type Nanos = u64;
