//! The whole core over events at hand.

use tracer_model::{Event, Finding};

use crate::engine::core::Core;

/// The findings of these events, to the last. The answers to the core's queries are among the events, if these were recorded.
pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> impl Iterator<Item = Finding> {
    let mut core = Core::new();
    let events = events.into_iter();
    events.flat_map(move |event| core.on(event).findings)
}
