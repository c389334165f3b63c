//! Each hang is what its request waited for in the broker, on a simulated server that knows the truth to the nanosecond:
//! sinks in goroutines of their own (Vault 1.15 and later), which may outlive the broker's patience; dials that race; one
//! goroutine that writes for all requests; lost records; listeners of which nothing is seen.

mod checks;
mod coverage;
mod describe;
mod plan;
mod server;
mod trace;
mod wire;

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{RngSeed, TestCaseError},
};
use test_events::{MS, S};
use tracer_model::Snapshot;

use crate::{
    checks::{
        DELAY, EXACT, INTERVAL, UNSEEN, candidates, is_exact, is_idle, is_in_time,
        is_never_short_in_silence, is_nobody_elses, is_told_once, is_within_its_uncertainty,
        uncertainty,
    },
    describe::{brief, brief_truths},
    plan::{Listener, Plan, State},
    trace::run,
};

const ALL: [Listener; 3] = [Listener::Http1, Listener::Http2, Listener::Unix];
const TCP: [Listener; 2] = [Listener::Http1, Listener::Http2];

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
    plan::sinks(TCP.to_vec()).prop_map(move |plan| Plan {
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
    fn each_hang_is_what_its_request_waited_for_and_comes_with_the_answer_http1(plan in plan::sinks(vec![Listener::Http1])) {
        let trace = run(&plan);
        is_in_time(&plan, &trace, DELAY)?;
        is_exact(&plan, &trace)?;
    }

    #[test]
    fn each_hang_is_what_its_request_waited_for_and_comes_with_the_answer_http2(plan in plan::sinks(vec![Listener::Http2])) {
        let trace = run(&plan);
        is_in_time(&plan, &trace, DELAY)?;
        is_exact(&plan, &trace)?;
    }

    #[test]
    fn what_was_sampled_is_within_its_uncertainty(plan in plan::sinks(ALL.to_vec()), late in select(vec![5 * MS, 100 * MS, 600 * MS])) {
        is_within_its_uncertainty(&Plan { sample_takes: late, ..plan })?;
    }

    #[test]
    fn a_stall_is_reported_as_the_hang_that_it_becomes(plan in plan::sinks(TCP.to_vec())) {
        let trace = run(&plan);
        let hangs: Vec<_> = trace.hangs().filter_map(|(_, hang)| hang.id).collect();
        for stalled in trace.stalled() {
            prop_assert!(hangs.contains(&stalled.hang), "{:?} of {:?}", stalled, hangs);
        }
    }

    #[test]
    fn devices_side_by_side_have_their_own_times(plan in plan::sinks(TCP.to_vec())) {
        let devices = vec![(State::Dead, 2 * S), (State::Dead, S / 2), (State::Healthy, S)];
        let plan = Plan { devices, ..plan };
        is_exact(&plan, &run(&plan))?;
    }

    #[test]
    fn where_devices_are_not_known_no_hang_is_short_in_silence(plan in plan::sinks(TCP.to_vec()), knows_devices: bool) {
        let devices = vec![(State::Dead, 2 * S), (State::Dead, S / 2), (State::Healthy, S)];
        let plan = Plan { devices, knows_devices, ..plan };
        let trace = run(&plan);
        is_never_short_in_silence(&plan, &trace)?;
        is_told_once(&plan, &trace)?;
        is_idle(&plan, &trace)?;
    }

    #[test]
    fn slow_work_is_nobodys_hang(plan in plan::sinks(TCP.to_vec())) {
        let plan = Plan { work: 9 * S, ..plan };
        is_exact(&plan, &run(&plan))?;
    }

    #[test]
    fn what_a_request_does_before_and_after_its_entries_is_nobodys_hang(plan in plan::sinks(ALL.to_vec()), before in select(vec![2 * MS, 3 * S]), late in select(vec![5 * MS, 100 * MS])) {
        let plan = Plan { before, answering: 300 * MS, sample_takes: late, ..plan };
        is_within_its_uncertainty(&plan)?;
    }

    #[test]
    fn dials_that_race_are_one_hang_of_a_sink(plan in racing(true)) {
        is_exact(&plan, &run(&plan))?;
    }

    #[test]
    fn dials_that_race_are_one_hang_of_a_handler(plan in racing(false)) {
        is_exact(&plan, &run(&plan))?;
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
        let Snapshot { under_way, blocked, stalls, .. } = &trace.last;
        prop_assert_eq!((*under_way, *blocked), (Some(0), 0), "{:?}", plan);
        prop_assert!(stalls.is_empty(), "{:?} {:?}", stalls, plan);
    }

    #[test]
    fn over_a_unix_listener_durations_are_lower_bounds(plan in plan::sinks(vec![Listener::Unix])) {
        let trace = run(&plan);
        is_in_time(&plan, &trace, UNSEEN)?;
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

/// One whose sinks queue by a lock, and whose samples bear no request's ID.
fn nameless(seed: u64, other: State, (clients, each): (usize, usize)) -> Plan {
    Plan {
        seed,
        devices: vec![(State::Healthy, S / 2), (other, S / 2)],
        listener: Listener::Http2,
        has_sinks: true,
        queue_is_bounded: false,
        patience: None,
        clients,
        each,
        before: 2 * MS,
        work: 300 * MS,
        answering: plan::AT_ONCE,
        sample_takes: 5 * MS,
        has_names: false,
        knows_devices: true,
        lost: 0,
        has_gaps: false,
    }
}

/// A sink wrote, another one dials, and a sample says at once that both are parts of the handler's request.
#[test]
fn a_sample_merges_all_parts_of_a_request() {
    let trace = run(&nameless(447_586_388_816_309_726, State::Dead, (1, 1)));
    let stalled: Vec<_> = trace.stalled().map(|stalled| stalled.hang).collect();
    assert_eq!(stalled, [1, 1, 1, 1]);
}

/// No sample found the request in the broker with its answer's entry, which its sinks were seen to write.
#[test]
fn an_answer_whose_entry_no_sample_saw_ends_the_request() -> Result<(), TestCaseError> {
    let plan = nameless(8_015_954_290_161_359_208, State::Slow, (2, 3));
    let trace = run(&plan);
    is_in_time(&plan, &trace, DELAY)?;
    is_exact(&plan, &trace)
}
