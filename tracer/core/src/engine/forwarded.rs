//! Requests that wait for the active node of the cluster: no device blocks them here.

use tracer_model::{Finding, ForwardedSample, Nanos};

use crate::{
    engine::{sampler::Sampler, trackers::Trackers},
    request::{request::Request, sampled::SampleTimes},
};

/// Takes which requests a sample found so. What else it found is not taken yet.
pub(super) fn take(
    at: Nanos,
    handlers: &[ForwardedSample],
    sampler: &mut Sampler,
    trackers: &mut Trackers,
) {
    sampler.forwarded_at = at;
    let times = SampleTimes {
        began: trackers.session.began,
        before: sampler.at,
        at,
    };
    trackers.requests.sampled_forwarded(handlers, times);
}

/// A sample of which nothing was said found none.
pub(super) fn take_none(at: Nanos, sampler: &mut Sampler, trackers: &mut Trackers) {
    if sampler.forwarded_at != at {
        take(at, &[], sampler, trackers);
    }
}

/// Of a request that is over, if it waited for longer than the threshold.
pub(super) fn found(request: &Request, threshold: Nanos) -> Option<Finding> {
    let forwarded = request.forwarded_finding()?;
    (forwarded.duration > threshold).then(|| Finding::Forwarded(Box::new(forwarded)))
}
