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

fn of_requests(trackers: &Trackers, last: Nanos) -> Option<Nanos> {
    let silent = trackers.requests.all().filter(|r| r.is_silent());
    let latest = silent.map(|request| request.end).max()?;
    let (shortest, longest) = SILENT_INTERVAL;
    let pause = (last.saturating_sub(latest) / 4).clamp(shortest, longest);
    Some((latest + SILENT).max(last + pause))
}
