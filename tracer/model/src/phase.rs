//! Which of a request's two entries is meant.

use serde::{Deserialize, Serialize};

/// The server writes one entry before it works on a request and one before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the work.
    Request,
    /// Before the answer.
    Response,
}

impl Phase {
    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Request => "request",
            Phase::Response => "response",
        }
    }
}
