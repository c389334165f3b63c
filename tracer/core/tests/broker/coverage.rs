//! A simulation in which nothing happens would prove nothing.

use std::collections::BTreeMap;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use test_events::THRESHOLD;

use crate::{
    ALL,
    plan::{self, Listener},
    server::Request,
    trace::run,
};

#[test]
fn each_situation_occurs() {
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
