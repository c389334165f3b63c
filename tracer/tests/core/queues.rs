//! Requests that queue for audit devices, as a simulated server really made them wait: what the core says of it
//! is compared with what happened.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};
use test_events::{BEGAN, MS, S, THRESHOLD, device};
use test_support::{
    simulation::{Plan, Request, SimulatedTrace, State, Wait, client, name, run, run_through},
    traffic::most_kept,
};
use tracer_core::replay;
use tracer_model::{Finding, Hang, Nanos, Op, Summary, WaitReason};

use crate::simulated::SimulatedCapture;

/// Between two samples, and what one takes, ns: nobody knows better when who queued began to.
const INTERVAL: Nanos = 110 * MS;

/// The names of 4,096 requests, each in two tables, and what is under way.
const KEPT: usize = 2 * 4096 + 100;

fn state() -> impl Strategy<Value = State> {
    select(vec![State::Dead, State::Dead, State::Slow, State::Healthy])
}

fn plan() -> impl Strategy<Value = Plan> {
    let timeout = select(vec![S / 2, 2 * S]);
    let size = (1..=6_usize, 1..=2_usize);
    let kind = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<u64>(), vec(state(), 1..=3), timeout, size, kind).prop_map(
        |(seed, devices, timeout, (clients, each), (http2, is_declared, dates))| Plan {
            seed,
            devices,
            timeout,
            clients,
            each,
            http2,
            stacks: true,
            dates,
            is_declared,
            lost: 0,
            swapped: 0,
        },
    )
}

fn hangs(trace: &SimulatedTrace) -> impl Iterator<Item = &Hang> {
    trace.findings.iter().filter_map(|finding| match finding {
        Finding::Hang(hang) => Some(&**hang),
        _ => None,
    })
}

fn summary(trace: &SimulatedTrace) -> &Summary {
    let Some(Finding::Summary(summary)) = trace.findings.last() else {
        panic!("the last finding is no summary");
    };
    summary
}

fn refusals(trace: &SimulatedTrace) -> u64 {
    let refusals = trace
        .findings
        .iter()
        .filter(|finding| matches!(finding, Finding::Refusal(_)));
    refusals.count() as u64
}

/// The request that a hang is of: by its name, else by its client and when it was.
fn request_of<'a>(plan: &Plan, trace: &'a SimulatedTrace, hang: &Hang) -> Option<&'a Request> {
    let is_meant = |served: &&Request| match &hang.request.id {
        Some(id) => *id == name(served),
        None => {
            hang.request.client == Some(client(plan, served.client))
                && (served.start..=served.end.unwrap_or(Nanos::MAX)).contains(&hang.start)
        }
    };
    let mut meant = trace.requests.iter().filter(is_meant);
    let one = meant.next()?;
    meant.next().is_none().then_some(one)
}

fn lasted(served: &Request) -> Nanos {
    served.end.expect("all are answered") - served.start
}

fn uncertainty(hang: &Hang) -> Nanos {
    hang.stalls.iter().map(|stall| stall.uncertainty).sum()
}

/// Whether too much was lost to hold it against the core: how a wait ended, with no look to tell, or where between two requests of one
/// client the first one did.
fn is_unsure(plan: &Plan, trace: &SimulatedTrace, served: &Request) -> bool {
    let is_endless = !plan.stacks && trace.endless.contains(&served.number);
    plan.lost > 0 && (plan.each > 1 || is_endless)
}

/// What looks may be mistaken by about a hang whose request was not seen to begin.
fn by_samples(hang: &Hang) -> Nanos {
    let locks = hang
        .stalls
        .iter()
        .filter(|stall| stall.op == Op::Lock && !stall.inferred);
    INTERVAL * locks.count() as u64 + uncertainty(hang)
}

/// What looks may be mistaken by about this request and device: by nothing where the server says since when it
/// queues, if only one look comes while it does.
fn tolerance(plan: &Plan, served: &Request, number: usize) -> Nanos {
    let locks = served
        .waits_for(number)
        .filter(|wait| wait.place == WaitReason::Lock);
    let mistaken = |wait: &Wait| {
        if plan.dates && wait.duration >= INTERVAL {
            MS
        } else {
            INTERVAL
        }
    };
    locks.map(mistaken).sum()
}

type ByRequest<'a> = BTreeMap<(usize, usize), &'a Hang>;

/// Hangs by request and device, of which each has one at most.
fn by_request<'a>(plan: &Plan, trace: &'a SimulatedTrace) -> Result<ByRequest<'a>, TestCaseError> {
    let mut all = BTreeMap::new();
    for hang in hangs(trace) {
        let served = request_of(plan, trace, hang);
        let Some(served) = served else {
            return Err(TestCaseError::fail(format!("whose? {hang:#?}")));
        };
        let number = (0..plan.devices.len()).find(|number| device(*number) == hang.device);
        let key = (served.number, number.expect("a device of the plan"));
        prop_assert!(
            all.insert(key, hang).is_none(),
            "reported twice: {:#?}",
            hang
        );
    }
    Ok(all)
}

fn is_exact(
    plan: &Plan,
    served: &Request,
    number: usize,
    hang: Option<&Hang>,
) -> Result<(), TestCaseError> {
    let (truth, tolerance) = (served.blocked(number), tolerance(plan, served, number));
    let Some(hang) = hang else {
        let why = format!("{truth} ns missing of {served:#?} on {number}");
        prop_assert!(truth < THRESHOLD + tolerance, "{}", why);
        return Ok(());
    };
    let off = hang.duration.abs_diff(truth);
    let why = format!("off by {off} ns on {number}: {served:#?} {hang:#?}");
    prop_assert!(off <= tolerance + uncertainty(hang), "{}", why);
    prop_assert!(hang.duration <= lasted(served), "{}", why);
    prop_assert!(
        hang.request.lower_bound || hang.duration <= hang.request.duration,
        "{}",
        why
    );
    Ok(())
}

/// Who is said to have been in the device was there while this one waited.
fn is_blocked_by_holders(
    trace: &SimulatedTrace,
    number: usize,
    hang: &Hang,
) -> Result<(), TestCaseError> {
    let named = hang
        .stalls
        .iter()
        .filter_map(|stall| Some((stall, stall.blocked_by.as_ref()?)));
    for (stall, blocker) in named {
        let (from, until) = (
            stall.start.saturating_sub(INTERVAL),
            stall.start + stall.duration,
        );
        let blockers = trace
            .requests
            .iter()
            .filter(|served| name(served) == *blocker);
        let mut held = blockers.flat_map(|served| &served.held);
        let was_there =
            held.any(|(of, start, end)| *of == number && *start <= until && *end >= from);
        prop_assert!(was_there, "{} was not in {}: {:#?}", blocker, number, hang);
    }
    Ok(())
}

/// Each request's hangs are what it waited for, who is named was in the device, and every request is counted.
fn every_hang_is_exact(plan: &Plan, trace: &SimulatedTrace) -> Result<(), TestCaseError> {
    let hangs = by_request(plan, trace)?;
    for served in &trace.requests {
        for number in 0..plan.devices.len() {
            is_exact(
                plan,
                served,
                number,
                hangs.get(&(served.number, number)).copied(),
            )?;
        }
    }
    for ((_, number), hang) in hangs {
        is_blocked_by_holders(trace, number, hang)?;
    }
    prop_assert_eq!(summary(trace).requests, trace.requests.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_no_loss_each_hang_is_what_its_request_waited_for(plan in plan()) {
        every_hang_is_exact(&plan, &run(&plan))?;
    }

    #[test]
    fn what_was_recorded_replays_to_the_same_report(plan in plan(), lost in select(vec![0_u64, 20])) {
        let trace = run(&Plan { lost, ..plan });
        let again: Vec<_> = replay(&trace.events).collect();
        prop_assert_eq!(again, trace.findings);
    }

    #[test]
    fn so_it_is_where_normal_traffic_is_buffered(plan in plan()) {
        every_hang_is_exact(&plan, &run_through(SimulatedCapture::new(BEGAN), &plan))?;
    }

    #[test]
    fn nothing_is_kept_of_what_is_over(plan in plan(), swapped in select(vec![0_u64, 300])) {
        let trace = run(&Plan { swapped, ..plan });
        prop_assert!(trace.was_idle);
    }

    #[test]
    fn without_stacks_queueing_is_inferred_and_never_longer_than_the_request(plan in plan()) {
        let plan = Plan { stacks: false, ..plan };
        let trace = run(&plan);
        for hang in hangs(&trace) {
            let locks = hang.stalls.iter().filter(|stall| stall.op == Op::Lock);
            prop_assert!(locks.into_iter().all(|stall| stall.inferred));
            prop_assert!(hang.duration <= hang.request.duration, "{:#?}", hang);
            if let Some(served) = request_of(&plan, &trace, hang) {
                prop_assert!(hang.duration <= lasted(served), "{:#?}", hang);
            }
        }
    }

    #[test]
    fn what_is_lost_or_swapped_blames_nobody_for_longer_than_it_lasted(
        plan in plan(), lost in select(vec![0_u64, 20, 200]), swapped in select(vec![0_u64, 300]), stacks: bool
    ) {
        let plan = Plan { stacks, lost, swapped, ..plan };
        let trace = run(&plan);
        let (summary, all) = (summary(&trace), hangs(&trace).count() as u64);
        prop_assert_eq!(summary.hangs, all);
        prop_assert_eq!(summary.refusals, refusals(&trace));
        for hang in hangs(&trace) {
            prop_assert!(hang.request.lower_bound || hang.duration <= hang.request.duration, "{:#?}", hang);
            let of = request_of(&plan, &trace, hang);
            if let Some(served) = of.filter(|served| !is_unsure(&plan, &trace, served)) {
                let most = lasted(served) + 2 * MS + by_samples(hang);
                prop_assert!(hang.duration <= most, "{:#?} {:#?}", served, hang);
            }
        }
    }
}

/// A simulation in which nobody queued would prove nothing about queues.
#[test]
fn simulated_servers_come_to_queues_of_every_kind() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..40 {
        let plan = plan().new_tree(&mut runner).expect("a plan").current();
        let trace = run(&plan);
        for hang in hangs(&trace) {
            *seen
                .entry(if plan.http2 { "http2" } else { "http1" })
                .or_default() += 1;
            for stall in &hang.stalls {
                *seen.entry(stall.op.name()).or_default() += 1;
                *seen.entry("blocked_by").or_default() += usize::from(stall.blocked_by.is_some());
            }
        }
    }
    println!("{seen:?}");
    for what in ["http1", "http2", "lock", "connect", "write", "blocked_by"] {
        assert!(seen.get(what).is_some_and(|times| *times > 20), "{seen:?}");
    }
}

/// The example `million` does the same with a million.
#[test]
fn what_is_kept_does_not_grow_with_the_requests() {
    let few = most_kept(10_000);
    let many = most_kept(100_000);
    println!("{few} kept of 10,000 requests, {many} of 100,000");
    assert!(many <= KEPT, "{many} things kept");
}

/// Found by chance: the beginning of a wait was lost, and two looks found it. When it began was said to be exact.
#[test]
fn who_was_found_without_having_been_seen_is_not_exact() {
    let plan = Plan {
        seed: 16_377_736_478_183_005_771,
        devices: vec![State::Slow],
        timeout: S / 2,
        clients: 4,
        each: 1,
        http2: true,
        stacks: true,
        dates: false,
        is_declared: false,
        lost: 200,
        swapped: 0,
    };
    let trace = run(&plan);
    let hang = hangs(&trace).find(|hang| hang.request.id.as_deref() == Some("id-1"));
    let hang = hang.expect("it hung");
    let served = request_of(&plan, &trace, hang).expect("known");
    assert!(uncertainty(hang) > INTERVAL, "{hang:#?}");
    assert!(hang.duration <= lasted(served) + 2 * MS + by_samples(hang));
}

/// Found by chance: the end of a write was lost, and it was said to have gone on while its goroutine queued, or wrote again.
#[test]
fn what_ended_unseen_was_over_before_what_was_seen() {
    let plan = |seed, clients, http2, dates, swapped| Plan {
        seed,
        devices: vec![State::Slow],
        timeout: S / 2,
        clients,
        each: 1,
        http2,
        stacks: true,
        dates,
        is_declared: false,
        lost: 200,
        swapped,
    };
    for plan in [
        plan(4_260_886_037_397_456_277, 6, false, true, 0),
        plan(12_560_880_545_856_483_259, 3, true, false, 300),
    ] {
        for hang in hangs(&run(&plan)) {
            assert!(hang.duration <= hang.end - hang.start, "{hang:#?}");
            assert!(hang.duration <= hang.request.duration, "{hang:#?}");
        }
    }
}
