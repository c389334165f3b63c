//! A request that waited for the active node of the cluster.

use serde::{Deserialize, Serialize};
use tracer_model as model;

use super::Request;
use crate::{Time, WallClock, text};

/// A standby forwarded a request to the active node of its cluster, and waited for the answer for longer than the threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Forwarded"))]
pub struct Forwarded<T = String> {
    /// The request; its ID and path are known where this server wrote an entry of it.
    pub request: Request<T>,
    /// Where the active node listens to the others: `10.0.0.1:8201`; absent where that is not certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<T>,
    /// When the wait began.
    pub start: Time,
    /// How long it waited.
    pub duration_ns: u64,
    /// By how much the beginning or the end may be off; absent where both were seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty_ns: Option<u64>,
    /// One sentence for the operator.
    pub explanation: T,
}

impl Forwarded {
    /// Of a request that is over.
    pub fn of(forwarded: &model::Forwarded, clock: WallClock) -> Self {
        let uncertainty = forwarded.uncertainty;
        Self {
            request: Request::of(&forwarded.request, clock),
            to: forwarded.to.clone(),
            start: clock.time(forwarded.start),
            duration_ns: forwarded.duration,
            uncertainty_ns: (uncertainty > 0).then_some(uncertainty),
            explanation: text::explain::forwarded(forwarded),
        }
    }
}
