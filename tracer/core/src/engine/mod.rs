//! One event through all parts: `core` coordinates, each part owns its state.

mod core;
mod device_failures;
mod failing_files;
mod forwarded;
mod identified;
mod open_stalls;
mod owed_entries;
mod pending_verdicts;
mod replay;
mod request_names;
mod sampled_devices;
mod sampler;
mod searches;
mod sessions;
mod silence;
mod snapshot;
mod step;
#[cfg(test)]
mod tests;
mod trackers;
mod untaken_entries;
mod verdicts;

pub use self::{
    core::Core,
    replay::replay,
    snapshot::BufferedActivity,
    step::{Query, Step},
};
