//! Each hang is what its request waited for in the broker, on a simulated server that knows the truth to the nanosecond:
//! sinks in goroutines of their own (Vault 1.15 and later), which may outlive the broker's patience; dials that race; one
//! goroutine that writes for all requests; lost records; listeners of which nothing is seen.

mod plan;
mod random;
mod server;
mod trace;
mod wire;

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::select, test_runner::RngSeed, test_runner::TestCaseError};
use tracer_model::{Hang, Nanos, Op, Snapshot};

use crate::{
    plan::{Listener, MS, Plan, S, State},
    server::Request,
    trace::{Trace, run},
};

const THRESHOLD: Nanos = 100 * MS;

/// Between two samples while something waits, and what one takes.
const INTERVAL: Nanos = 110 * MS;

/// How exact what is seen is.
const EXACT: Nanos = 2 * MS;

/// The finding comes so long after the answer, at the latest.
const DELAY: Nanos = 300 * MS;

/// The same where no answer is seen.
const UNSEEN: Nanos = 3 * S + DELAY;

const ALL: [Listener; 3] = [Listener::Http1, Listener::Http2, Listener::Unix];
const TCP: [Listener; 2] = [Listener::Http1, Listener::Http2];

fn uncertainty(hang: &Hang) -> Nanos {
    hang.stalls.iter().map(|stall| stall.uncertainty).sum()
}

/// Whether only samples say when it began or ended. An answer is waited for at a socket of another goroutine.
fn is_sampled(plan: &Plan, hang: &Hang) -> bool {
    let by_samples = |stall: &tracer_model::Stall| stall.op == Op::Lock || stall.uncertainty > 0;
    let waits_for_writer = plan.devices[0].0 == State::Writer;
    waits_for_writer || hang.stalls.iter().any(by_samples)
}

fn most(plan: &Plan, hang: &Hang, truth: Nanos) -> Nanos {
    let by_samples = if is_sampled(plan, hang) { INTERVAL } else { 0 };
    truth + uncertainty(hang) + EXACT + by_samples
}

/// Whether the request can be the one that the hang is of.
fn is_within(hang: &Hang, request: &Request, slack: Nanos) -> bool {
    let end = request.end.unwrap_or(Nanos::MAX);
    hang.start + slack >= request.start && hang.end <= end.saturating_add(slack)
}

fn is_of_client(plan: &Plan, hang: &Hang, request: &Request) -> bool {
    let client = wire::client(plan, request.client);
    hang.request.client.is_none() || hang.request.client == client
}

/// The requests that a hang may be of: by its id, else by its client and when it was.
fn candidates<'a>(plan: &Plan, trace: &'a Trace, hang: &Hang) -> Vec<&'a Request> {
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
fn is_nobody_elses(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    for (at, hang) in trace.hangs() {
        let number = (0..plan.devices.len()).find(|number| wire::device(*number) == hang.device);
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

fn is_told_once(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
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
fn unseen(request: &Request, device: usize) -> Nanos {
    let queued = request
        .waits
        .iter()
        .filter(|(of, _, start, end)| *of == device && end - start < 2 * INTERVAL);
    queued.map(|(_, _, start, end)| end - start).sum()
}

/// Every request that a device blocked has a hang of that device, as long as that was, and at once.
fn everybody_has_one(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    for request in &trace.requests {
        for device in 0..plan.devices.len() {
            let truth = request.blocked(device);
            if truth <= THRESHOLD + 200 * MS {
                continue;
            }
            let of_device = |(_, hang): &(Nanos, &Hang)| hang.device == wire::device(device);
            let its: Vec<_> = trace
                .hangs()
                .filter(of_device)
                .filter(|(_, hang)| {
                    let of = candidates(plan, trace, hang);
                    of.iter().any(|of| of.number == request.number)
                })
                .collect();
            let unseen = unseen(request, device);
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

/// Findings come with the answer.
fn is_in_time(plan: &Plan, trace: &Trace, limit: Nanos) -> Result<(), TestCaseError> {
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

fn in_ms(at: Nanos) -> String {
    format!("{:.1}", at.saturating_sub(server::BEGAN) as f64 / 1e6)
}

/// A hang in few words; times in ms since the trace began.
fn brief(hang: &Hang) -> String {
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
fn brief_truth(request: &Request) -> String {
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

fn briefs<'a>(hangs: impl IntoIterator<Item = &'a (Nanos, &'a Hang)>) -> String {
    let lines = hangs
        .into_iter()
        .map(|(at, hang)| format!("\n at {} {}", in_ms(*at), brief(hang)));
    lines.collect()
}

fn brief_truths<'a>(requests: impl IntoIterator<Item = &'a Request>) -> String {
    let lines = requests
        .into_iter()
        .map(|request| format!("\n {}", brief_truth(request)));
    lines.collect()
}

fn is_idle(plan: &Plan, trace: &Trace) -> Result<(), TestCaseError> {
    prop_assert!(trace.was_idle, "something is open: {:?}", plan);
    Ok(())
}

fn is_exact(plan: &Plan) -> Result<(), TestCaseError> {
    let trace = run(plan);
    is_nobody_elses(plan, &trace)?;
    is_told_once(plan, &trace)?;
    everybody_has_one(plan, &trace)?;
    is_idle(plan, &trace)?;
    Ok(())
}

fn racing(has_sinks: bool) -> impl Strategy<Value = Plan> {
    let timeout = select(vec![S / 2, 2 * S]);
    (plan::sinks(TCP.to_vec()), timeout).prop_map(move |(plan, timeout)| Plan {
        devices: vec![(State::Racing, timeout)],
        has_sinks,
        patience: plan.patience.filter(|_| has_sinks),
        ..plan
    })
}

fn writer() -> impl Strategy<Value = Plan> {
    let devices = vec![(State::Writer, S), (State::Healthy, S)];
    // Over HTTP/2 a request may still be reported twice, in two parts.
    plan::sinks(vec![Listener::Http1]).prop_map(move |plan| Plan {
        devices: devices.clone(),
        has_sinks: false,
        patience: None,
        ..plan
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(1), failure_persistence: None, max_shrink_time: 3000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_recorded_replays_to_the_same(plan in plan::sinks(ALL.to_vec()), lost in select(vec![0_u64, 20])) {
        let trace = run(&Plan { lost, ..plan });
        let again: Vec<_> = tracer_core::replay(&trace.events).collect();
        let findings: Vec<_> = trace.findings.into_iter().map(|(_, finding)| finding).collect();
        prop_assert_eq!(again, findings);
    }

    #[test]
    fn findings_come_with_the_answer_http1(plan in plan::sinks(vec![Listener::Http1])) {
        is_in_time(&plan, &run(&plan), DELAY)?;
    }

    #[test]
    fn findings_come_with_the_answer_http2(plan in plan::sinks(vec![Listener::Http2])) {
        is_in_time(&plan, &run(&plan), DELAY)?;
    }

    #[test]
    fn findings_come_with_the_answer_unix(plan in plan::sinks(vec![Listener::Unix])) {
        is_in_time(&plan, &run(&plan), UNSEEN)?;
    }

    #[test]
    fn each_hang_is_what_its_request_waited_for_http1(plan in plan::sinks(vec![Listener::Http1])) {
        is_exact(&plan)?;
    }

    #[test]
    fn each_hang_is_what_its_request_waited_for_http2(plan in plan::sinks(vec![Listener::Http2])) {
        is_exact(&plan)?;
    }

    #[test]
    fn devices_side_by_side_have_their_own_times(plan in plan::sinks(TCP.to_vec())) {
        let devices = vec![(State::Dead, 2 * S), (State::Dead, S / 2), (State::Healthy, S)];
        is_exact(&Plan { devices, ..plan })?;
    }

    #[test]
    fn slow_work_is_nobodys_hang(plan in plan::sinks(TCP.to_vec())) {
        is_exact(&Plan { work: 9 * S, ..plan })?;
    }

    #[test]
    fn dials_that_race_are_one_hang_of_a_sink(plan in racing(true)) {
        is_exact(&plan)?;
    }

    #[test]
    fn dials_that_race_are_one_hang_of_a_handler(plan in racing(false)) {
        is_exact(&plan)?;
    }

    #[test]
    fn one_goroutine_that_writes_for_all_names_nobody_else(plan in writer()) {
        let trace = run(&plan);
        is_nobody_elses(&plan, &trace)?;
        is_told_once(&plan, &trace)?;
        is_idle(&plan, &trace)?;
    }

    #[test]
    fn loss_blames_nobody_for_longer_and_leaves_nothing_open(
        plan in plan::sinks(vec![Listener::Http1, Listener::Unix]), lost in select(vec![0_u64, 20, 200]), has_gaps: bool
    ) {
        let plan = Plan { lost, has_gaps, ..plan };
        let trace = run(&plan);
        // Of single records lost here and there, the length of a wait whose end is among them may be too long.
        if lost == 0 {
            is_nobody_elses(&plan, &trace)?;
        }
        for (_, hang) in trace.hangs() {
            prop_assert!(!candidates(&plan, &trace, hang).is_empty(), "whose? {}\n{:?}", brief(hang), plan);
        }
        // Sockets whose close was lost may be open still.
        let Snapshot { under_way, held_up, stalls, .. } = &trace.last;
        prop_assert_eq!((*under_way, *held_up), (Some(0), 0), "{:?}", plan);
        prop_assert!(stalls.is_empty(), "{:?} {:?}", stalls, plan);
    }

    #[test]
    fn over_a_unix_listener_durations_are_lower_bounds(plan in plan::sinks(vec![Listener::Unix])) {
        let trace = run(&plan);
        is_nobody_elses(&plan, &trace)?;
        for (_, hang) in trace.hangs() {
            prop_assert!(hang.request.lower_bound, "{:#?}", hang);
            let of = candidates(&plan, &trace, hang);
            let lasted = of.iter().map(|r| r.end.unwrap_or(trace.over) - r.start).max();
            // Both its ends are known to samples only, of this device or of another one.
            let others = trace.hangs().filter(|(_, other)| other.request.start == hang.request.start);
            let uncertainty = others.map(|(_, other)| uncertainty(other)).max().unwrap_or(0);
            let limit = lasted.unwrap_or(0) + EXACT + 2 * INTERVAL + uncertainty;
            prop_assert!(hang.request.duration <= limit, "{}{}\n{:?}", brief(hang), brief_truths(of), plan);
        }
        is_idle(&plan, &trace)?;
    }
}

#[test]
#[ignore = "prints one case"]
fn debug() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let state = |name: &str| match std::env::var(name).unwrap_or_default().as_str() {
        "dead" => State::Dead,
        "slow" => State::Slow,
        "stuck" => State::Stuck,
        "writer" => State::Writer,
        _ => State::Healthy,
    };
    let listener = [Listener::Http1, Listener::Http2, Listener::Unix]
        [number("LISTENER").unwrap_or(0) as usize];
    let devices = ["A", "B"].map(|n| (state(n), number(&format!("T{n}")).unwrap_or(S / 2)));
    let plan = Plan {
        seed: number("SEED").unwrap_or(1),
        devices: devices[..number("DEVICES").unwrap_or(1) as usize].to_vec(),
        listener,
        has_sinks: number("SINKS").unwrap_or(1) == 1,
        queue_is_bounded: number("BOUNDED").unwrap_or(0) == 1,
        patience: number("PATIENCE"),
        clients: number("CLIENTS").unwrap_or(1) as usize,
        each: number("EACH").unwrap_or(1) as usize,
        work: number("WORK").unwrap_or(300 * MS),
        has_names: number("NAMES").unwrap_or(0) == 1,
        lost: number("LOST").unwrap_or(0),
        has_gaps: number("GAPS").unwrap_or(0) == 1,
    };
    let trace = run(&plan);
    for event in &trace.events {
        if !matches!(event.what, tracer_model::EventKind::Tick) {
            println!(
                "{} {}",
                in_ms(event.at),
                serde_json::to_string(event).unwrap()
            );
        }
    }
    for (at, finding) in &trace.findings {
        match finding {
            tracer_model::Finding::Hang(hang) => println!("{} {}", in_ms(*at), brief(hang)),
            other => println!("{} {:?}", in_ms(*at), other),
        }
    }
    println!("{}", brief_truths(&trace.requests));
}

/// A simulation in which nothing happens would prove nothing.
#[test]
fn each_situation_occurs() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = |what, times| *seen.entry(what).or_default() += times;
    for _ in 0..40 {
        let plan = plan::sinks(ALL.to_vec())
            .new_tree(&mut runner)
            .expect("a plan")
            .current();
        let trace = run(&plan);
        let all = trace.requests.iter();
        count(
            "leftovers",
            all.clone().filter(|r| r.has_leftovers()).count(),
        );
        let blocked = |request: &&Request| {
            (0..plan.devices.len())
                .filter(|device| request.blocked(*device) > 3 * THRESHOLD)
                .count()
        };
        count("blocked", all.clone().filter(|r| blocked(r) > 0).count());
        count(
            "side by side",
            all.clone().filter(|r| blocked(r) > 1).count(),
        );
        let listener = match plan.listener {
            Listener::Http1 => "http1",
            Listener::Http2 => "http2",
            Listener::Unix => "unix",
        };
        for (_, hang) in trace.hangs() {
            count(listener, 1);
            for stall in &hang.stalls {
                count(stall.op.name(), 1);
                count("uncertain", usize::from(stall.uncertainty > 0));
            }
        }
    }
    println!("{seen:?}");
    let all = [
        "http1",
        "http2",
        "unix",
        "lock",
        "connect",
        "write",
        "leftovers",
        "side by side",
    ];
    for what in all {
        assert!(
            seen.get(what).is_some_and(|times| *times > 10),
            "{what}: {seen:?}"
        );
    }
}
