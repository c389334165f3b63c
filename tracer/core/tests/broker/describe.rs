//! Hangs and requests in few words, for tests that fail. Times are in ms since the trace began.

use test_events::{BEGAN, MS};
use tracer_model::{Hang, Nanos};

use crate::server::Request;

pub(crate) fn in_ms(at: Nanos) -> String {
    format!("{:.1}", at.saturating_sub(BEGAN) as f64 / 1e6)
}

/// A hang in few words; times in ms since the trace began.
pub(crate) fn brief(hang: &Hang) -> String {
    let stalls = hang.stalls.iter().map(|stall| {
        let (op, phase) = (stall.op.name(), stall.phase.name());
        let [start, end] = [stall.start, stall.start + stall.duration].map(in_ms);
        format!(
            "{phase} {op} {start}..{end} +-{:.1}",
            stall.uncertainty as f64 / 1e6
        )
    });
    let stalls: Vec<_> = stalls.collect();
    let [start, end, from] = [hang.start, hang.end, hang.request.start].map(in_ms);
    format!(
        "hang {:?} client {:?} tie {:?} {} {start}..{end} ({} ms) request from {from} for {} ms, {:?}: {}",
        hang.request.id,
        hang.request.client.map(|client| client.port()),
        hang.request.tie,
        hang.device,
        hang.duration / MS,
        hang.request.duration / MS,
        hang.request.lower_bound,
        stalls.join(", ")
    )
}

/// The same of a request.
pub(crate) fn brief_truth(request: &Request) -> String {
    let span = |from: Nanos, to: Option<Nanos>| {
        format!("{}..{}", in_ms(from), to.map_or_else(String::new, in_ms))
    };
    let stays: Vec<_> = request
        .stays
        .iter()
        .map(|stay| span(stay.start, stay.end))
        .collect();
    let wait = |(device, place, start, end): &(usize, _, Nanos, Nanos)| {
        format!("{place:?} on {device} {}", span(*start, Some(*end)))
    };
    let waits: Vec<_> = request.waits.iter().map(wait).collect();
    format!(
        "id-{} of {} goid {} {} stays {} waits {}",
        request.number,
        request.client,
        request.goid,
        span(request.start, request.end),
        stays.join(", "),
        waits.join(", ")
    )
}

pub(crate) fn briefs<'a>(hangs: impl IntoIterator<Item = &'a (Nanos, &'a Hang)>) -> String {
    let lines = hangs
        .into_iter()
        .map(|(at, hang)| format!("\n at {} {}", in_ms(*at), brief(hang)));
    lines.collect()
}

pub(crate) fn brief_truths<'a>(requests: impl IntoIterator<Item = &'a Request>) -> String {
    let lines = requests
        .into_iter()
        .map(|request| format!("\n {}", brief_truth(request)));
    lines.collect()
}
