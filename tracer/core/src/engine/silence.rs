//! When to sample for requests of which nothing is seen.

use tracer_model::Nanos;

use crate::engine::trackers::Trackers;

/// A request that makes no sign for so long is sampled, ns.
const SILENT: Nanos = 200_000_000;

/// Between two samples while a request is merely silent, ns: a quarter of the silence, within these bounds.
const SILENT_INTERVAL: (Nanos, Nanos) = (450_000_000, 4_000_000_000);

/// `last`: the last sample.
pub(super) fn due(trackers: &Trackers, last: Nanos) -> Option<Nanos> {
    let request = of_requests(trackers, last);
    of_connections(trackers, last)
        .into_iter()
        .chain(request)
        .min()
}

/// What a client sent on a connection that carries several requests may be one that waits where no probe sees it. Each is
/// looked for once.
fn of_connections(trackers: &Trackers, last: Nanos) -> Option<Nanos> {
    let unanswered = trackers
        .requests
        .unanswered_since(last.saturating_sub(SILENT));
    unanswered.map(|received| (received + SILENT).max(last + SILENT_INTERVAL.0))
}

/// Each by itself: neither one that is silent for long, nor others that come and are silent too, put off the sample for one.
fn of_requests(trackers: &Trackers, last: Nanos) -> Option<Nanos> {
    let silent = trackers.requests.all().filter(|r| r.is_silent());
    silent.map(|request| due_for(request.end, last)).min()
}

/// `since`: since when it is silent.
fn due_for(since: Nanos, last: Nanos) -> Nanos {
    let (shortest, longest) = SILENT_INTERVAL;
    let pause = (last.saturating_sub(since) / 4).clamp(shortest, longest);
    (since + SILENT).max(last + pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn a_silent_request_is_sampled_soon_and_then_ever_more_rarely() {
        for (since, last, expected) in [
            (10_000, 0, 10_200),
            (10_000, 9_900, 10_350),
            (10_000, 10_200, 10_650),
            (10_000, 14_000, 15_000),
            (10_000, 90_000, 94_000),
        ] {
            assert_eq!(
                due_for(since * MS, last * MS),
                expected * MS,
                "{since} {last}"
            );
        }
    }
}
