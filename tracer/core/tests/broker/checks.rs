//! What has to hold of each trace, compared with what the simulated server knows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use test_events::{MS, S, THRESHOLD, device};
use tracer_model::{Finding, Hang, Nanos, Op};

use crate::{
    describe::{brief, brief_truth, brief_truths, briefs},
    plan::{Plan, State},
    server::Request,
    trace::{Trace, run},
    wire,
};

/// Between two samples while something waits, and what one takes.
pub(crate) const INTERVAL: Nanos = 110 * MS;

/// How exact what is seen is.
pub(crate) const EXACT: Nanos = 2 * MS;

/// The finding comes so long after the answer, at the latest.
pub(crate) const DELAY: Nanos = 300 * MS;

/// The same where no answer is seen.
pub(crate) const UNSEEN: Nanos = 3 * S + DELAY;

pub(crate) fn uncertainty(hang: &Hang) -> Nanos {
    hang.stalls.iter().map(|stall| stall.uncertainty).sum()
}

/// Whether only samples say when it began or ended. An answer is waited for at a socket of another goroutine.
pub(crate) fn is_sampled(plan: &Plan, hang: &Hang) -> bool {
    let by_samples = |stall: &tracer_model::Stall| stall.op == Op::Lock || stall.uncertainty > 0;
    let waits_for_writer = plan.devices[0].0 == State::Writer;
    waits_for_writer || hang.stalls.iter().any(by_samples)
}

pub(crate) fn most(plan: &Plan, hang: &Hang, truth: Nanos) -> Nanos {
    let by_samples = if is_sampled(plan, hang) { INTERVAL } else { 0 };
    truth + uncertainty(hang) + EXACT + by_samples
}

/// Whether the request can be the one that the hang is of.
pub(crate) fn is_within(hang: &Hang, request: &Request, slack: Nanos) -> bool {
    let end = request.end.unwrap_or(Nanos::MAX);
    hang.start + slack >= request.start && hang.end <= end.saturating_add(slack)
}

pub(crate) fn is_of_client(plan: &Plan, hang: &Hang, request: &Request) -> bool {
    let client = wire::client(plan, request.client);
    hang.request.client.is_none() || hang.request.client == client
}

/// The requests that a hang may be of: by its id, else by its client and when it was.
pub(crate) fn candidates<'a>(plan: &Plan, trace: &'a Trace, hang: &Hang) -> Vec<&'a Request> {
    let slack = EXACT + uncertainty(hang) + if is_sampled(plan, hang) { INTERVAL } else { 0 };
    let of = trace
        .requests
        .iter()
        .filter(|request| match &hang.request.id {
            Some(id) => *id == wire::name(request),
            None => is_of_client(plan, hang, request) && is_within(hang, request, slack),
        });
    of.collect()
}

/// No hang outlasts its request, and none bears the name of another.
pub(crate) fn is_nobody_elses(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    for (at, hang) in trace.hangs() {
        let number = (0..plan.devices.len()).find(|number| device(*number) == hang.device);
        let Some(number) = number else {
            return Err(TestCaseError::fail(format!("which device? {hang:#?}")));
        };
        let of = candidates(plan, trace, hang);
        prop_assert!(
            !of.is_empty(),
            "whose? {}{}\n{:?}",
            brief(hang),
            brief_truths(&trace.requests),
            plan
        );
        let fits = |request: &&Request| {
            let lasted = request.end.unwrap_or(trace.over) - request.start;
            // Where records were lost, an end may be known to a sample only, whatever is waited for.
            let loses = plan.lost > 0 || plan.has_gaps;
            let by_sample = if loses || is_sampled(plan, hang) {
                INTERVAL
            } else {
                0
            };
            let slack = EXACT + uncertainty(hang) + by_sample;
            is_of_client(plan, hang, request)
                && is_within(hang, request, slack)
                && hang.duration
                    <= lasted + EXACT + uncertainty(hang) + if loses { INTERVAL } else { 0 }
                && hang.duration <= most(plan, hang, request.blocked(number))
        };
        prop_assert!(
            of.iter().any(fits),
            "no fit: {}{}\n{:?}",
            briefs(&[(at, hang)]),
            brief_truths(of),
            plan
        );
        let ends = of.iter().filter_map(|request| request.end);
        let is_later = ends.max().is_some_and(|end| hang.end > end + EXACT);
        prop_assert!(
            !is_later || is_sampled(plan, hang),
            "outlasts: {}{}\n{:?}",
            brief(hang),
            brief_truths(of),
            plan
        );
    }
    Ok(())
}

pub(crate) fn is_told_once(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    let mut seen = BTreeMap::new();
    for (_, hang) in trace.hangs() {
        if let Some(id) = &hang.request.id {
            let twice = seen.insert((id.clone(), hang.device.clone()), hang);
            prop_assert!(
                twice.is_none(),
                "twice: {}\n{}\n{:?}",
                twice.map_or_else(String::new, brief),
                brief(hang),
                plan
            );
        }
    }
    Ok(())
}

/// Waits that are too short to be sampled: nobody can know of them.
pub(crate) fn unseen(request: &Request, device: usize, shorter_than: Nanos) -> Nanos {
    let queued = request
        .waits
        .iter()
        .filter(|(of, _, start, end)| *of == device && end - start < shorter_than);
    queued.map(|(_, _, start, end)| end - start).sum()
}

/// Every request that a device blocked has a hang of that device, as long as that was, and at once.
pub(crate) fn everybody_has_one(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    for request in &trace.requests {
        for device in 0..plan.devices.len() {
            let truth = request.blocked(device);
            if truth <= THRESHOLD + 200 * MS {
                continue;
            }
            let of_device = |(_, hang): &(Nanos, &Hang)| hang.device == test_events::device(device);
            let its: Vec<_> = trace
                .hangs()
                .filter(of_device)
                .filter(|(_, hang)| {
                    let of = candidates(plan, trace, hang);
                    of.iter().any(|of| of.number == request.number)
                })
                .collect();
            let unseen = unseen(request, device, 2 * INTERVAL);
            let is_long = |(_, hang): &&(Nanos, &Hang)| {
                hang.duration + uncertainty(hang) + EXACT + unseen >= truth
            };
            let long = its.iter().find(is_long);
            prop_assert!(
                long.is_some(),
                "{} ms ({} too short to be seen) on {}: {}{}\n{:?}",
                truth / MS,
                unseen / MS,
                device,
                brief_truth(request),
                briefs(&its),
                plan
            );
        }
    }
    Ok(())
}

/// Whoever was blocked has hangs that are no shorter than their uncertainty says, whichever device it was, or there is a warning.
pub(crate) fn is_never_short_in_silence(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    let is_warning = |finding: &Finding| matches!(finding, Finding::Warning(_));
    let is_warned = trace
        .findings
        .iter()
        .any(|(_, finding)| is_warning(finding));
    for request in &trace.requests {
        let devices = 0..plan.devices.len();
        let blocked = union(
            devices
                .clone()
                .flat_map(|device| request.blocked_spans(device)),
        );
        if blocked <= THRESHOLD + 200 * MS {
            continue;
        }
        let is_its = |(_, hang): &(Nanos, &Hang)| {
            let of = candidates(plan, trace, hang);
            of.iter().any(|of| of.number == request.number)
        };
        let its: Vec<_> = trace.hangs().filter(is_its).collect();
        // Streams of one connection may each be meant.
        let is_alone = |(_, hang): &&(Nanos, &Hang)| candidates(plan, trace, hang).len() == 1;
        for (_, hang) in its.iter().filter(is_alone) {
            let number = devices
                .clone()
                .find(|number| device(*number) == hang.device);
            let blocked = request.blocked(number.unwrap_or(0));
            let unseen = unseen(request, number.unwrap_or(0), 2 * INTERVAL);
            prop_assert!(
                hang.duration + uncertainty(hang) + EXACT + unseen >= blocked,
                "{} ms, {} too short to be seen: {}{}\n{:?}",
                blocked / MS,
                unseen / MS,
                brief_truth(request),
                brief(hang),
                plan
            );
        }
        let stalls = its.iter().flat_map(|(_, hang)| &hang.stalls);
        let reported = union(stalls.map(|stall| (stall.start, stall.start + stall.duration)));
        let bound: Nanos = its.iter().map(|(_, hang)| uncertainty(hang)).sum();
        let unseen: Nanos = devices
            .map(|device| unseen(request, device, 2 * INTERVAL))
            .sum();
        prop_assert!(
            reported + bound + EXACT + unseen >= blocked || (its.is_empty() && is_warned),
            "{} ms, at most {} more, of {}: {}{}\n{:?}",
            reported / MS,
            (bound + unseen) / MS,
            blocked / MS,
            brief_truth(request),
            briefs(&its),
            plan
        );
    }
    Ok(())
}

/// For how long there was at least one of these.
fn union(spans: impl Iterator<Item = (Nanos, Nanos)>) -> Nanos {
    let mut spans: Vec<_> = spans.collect();
    spans.sort_unstable();
    let mut reached = 0;
    let lasted = spans.into_iter().map(|(start, end)| {
        let lasted = end.saturating_sub(start.max(reached));
        reached = end.max(reached);
        lasted
    });
    lasted.sum()
}

/// Findings come with the answer.
pub(crate) fn is_in_time(plan: &Plan, trace: &Trace, limit: Nanos) -> Result<(), TestCaseError> {
    for (at, hang) in trace.hangs() {
        let ends = candidates(plan, trace, hang)
            .into_iter()
            .filter_map(|of| of.end);
        let late = at.saturating_sub(ends.max().unwrap_or(at));
        prop_assert!(
            late <= limit,
            "{} ms late: {}\n{:?}",
            late / MS,
            brief(hang),
            plan
        );
    }
    Ok(())
}

/// What was only sampled is no longer and no shorter than its own uncertainty says, however late samples come. Waits that
/// end before two samples can find them are not known at all.
pub(crate) fn is_within_its_uncertainty(plan: &Plan) -> Result<(), TestCaseError> {
    let trace = run(plan);
    for (at, hang) in trace.hangs() {
        let number = (0..plan.devices.len()).find(|number| device(*number) == hang.device);
        let of = candidates(plan, &trace, hang);
        let [request] = of.as_slice() else { continue };
        let truth = request.blocked(number.unwrap_or(0));
        let bound = uncertainty(hang) + EXACT;
        // When the request left the broker before its answer nothing shows, but for a sample that comes in between.
        let answering = plan.answering.min(INTERVAL + plan.sample_takes);
        prop_assert!(
            hang.duration <= truth + bound + answering,
            "{} of {} ms, at most {} more: {}{}\n{:?}",
            hang.duration / MS,
            truth / MS,
            bound / MS,
            briefs(&[(at, hang)]),
            brief_truths(of),
            plan
        );
        let unseen = unseen(request, number.unwrap_or(0), INTERVAL + plan.sample_takes);
        prop_assert!(
            hang.request.lower_bound || hang.duration + bound + unseen >= truth,
            "{} of {} ms, at most {} less: {}{}\n{:?}",
            hang.duration / MS,
            truth / MS,
            (bound + unseen) / MS,
            briefs(&[(at, hang)]),
            brief_truths(of),
            plan
        );
    }
    Ok(())
}

pub(crate) fn is_idle(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    prop_assert!(trace.was_idle, "something is open: {:?}", plan);
    Ok(())
}

pub(crate) fn is_exact(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    is_nobody_elses(plan, trace)?;
    is_told_once(plan, trace)?;
    everybody_has_one(plan, trace)?;
    is_idle(plan, trace)
}
