//! Pure functions over operations: why one waited, for which entry it was, and what that makes of a device.

pub(crate) mod cause;
pub(crate) mod incidents;
pub(crate) mod judge;
pub(crate) mod overlaps;
pub(crate) mod phases;
pub(crate) mod successes;
mod unanswered;
pub(crate) mod unascribed;
pub(crate) mod untaken;
