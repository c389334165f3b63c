//! What one event leads to.

use tracer_model::{EntryQuery, Finding};

/// What the core wants to know and cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Which entry a request wrote to an audit file. The answer is an [`tracer_model::EventKind::EntryFound`].
    Entry(EntryQuery),
    /// How large an audit file is. The answer is an [`tracer_model::EventKind::FileSize`].
    FileSize(String),
    /// Where the server's goroutines wait. The answer is a [`tracer_model::EventKind::GoroutinesSampled`].
    Goroutines,
}

/// Results of one event, and queries to be answered by further ones.
#[derive(Debug, Default)]
pub struct Step {
    /// In order.
    pub findings: Vec<Finding>,
    /// In order.
    pub queries: Vec<Query>,
}
