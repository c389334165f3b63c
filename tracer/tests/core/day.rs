//! A day of a server whose devices block now and then: what the core keeps of it does not grow.

use test_events::MS;
use test_support::streams::{BusyServer, Shape, feed};
use tracer_core::Core;
use tracer_model::Nanos;

const MINUTE: Nanos = 60_000 * MS;

/// Requests that queue each time: a day of these is more than what is remembered of those that are over.
const QUEUED: u64 = 64;

#[test]
fn what_is_kept_after_a_day_is_what_was_kept_after_half_of_it() {
    for stacks in [true, false] {
        let kept = day(Shape {
            devices: 1,
            stacks,
            ..Shape::HTTP1
        });
        let (first, second) = kept.split_at(kept.len() / 2);
        let most = |kept: &[usize]| kept.iter().max().copied();
        assert!(most(second) <= most(first), "{kept:?}");
    }
}

/// How many things are kept, every ten minutes.
fn day(shape: Shape) -> Vec<usize> {
    let (mut core, mut server) = (Core::new(), BusyServer::new(shape));
    let mut findings = feed(&mut core, &server.begin());
    let mut kept = Vec::new();
    for _ in 0..24 * 6 {
        findings += feed(&mut core, &server.hang(QUEUED).0);
        for _ in 0..10 {
            server.pass(MINUTE);
            findings += feed(&mut core, &server.events(1));
        }
        kept.push(core.kept());
    }
    let hangs = QUEUED as usize * kept.len();
    assert!(findings > hangs, "{findings} findings, {hangs} hangs");
    kept
}
