//! The client requests that the server works on: how far each is, and which goroutines work for it.

pub(crate) mod attribution;
pub(crate) mod broker_stay;
pub(crate) mod client_events;
pub(crate) mod counts;
pub(crate) mod entry_clients;
pub(crate) mod forwarded;
pub(crate) mod lifecycle;
pub(crate) mod progress;
pub(crate) mod recently_finished;
#[expect(clippy::module_inception, reason = "the type of the same name")]
pub(crate) mod request;
pub(crate) mod sampled;
pub(crate) mod sink_phases;
pub(crate) mod table;
