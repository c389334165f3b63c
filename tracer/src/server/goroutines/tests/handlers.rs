//! Requests' own goroutines that are inside the audit broker.

use super::{
    requests::{ID, LIST_KEYS},
    *,
};

/// Values of `atomicstatus`, and its offset.
const RUNNABLE: u64 = 1;
const RUNNING: u64 = 2;
const SYSCALL: u64 = 3;
const WAITING: u64 = 4;
const PREEMPTED: u64 = 9;
const STATUS: u64 = 144;
const SAVED_SP: u64 = 56;
const NONE: [u64; 0] = [];

fn handlers(reader: &GoroutineReader, memory: &FakeMemory) -> Vec<HandlerSample> {
    let samples = reader.sample(memory).expect("a list");
    samples.handlers.expect("a broker")
}

fn goids(reader: &GoroutineReader, memory: &FakeMemory) -> Vec<u64> {
    let handlers = handlers(reader, memory);
    handlers.iter().map(|handler| handler.goid).collect()
}

fn expected(goid: u64) -> HandlerSample {
    HandlerSample {
        goid,
        ancestors: vec![1],
        phase: Some(Phase::Response),
        entry: None,
    }
}

#[test]
fn a_handler_is_found_wherever_it_waits_below_the_broker() {
    for calls in [
        &[GRAPH, BROKER, HANDLER][..], // for its sinks
        &[LOCK, BROKER, HANDLER],
        &[LOCK, REQUEST, BROKER, HANDLER],
        &[CONNECT, RECONNECT, REQUEST, BROKER, HANDLER],
        &[0x1234, BROKER, HANDLER],
        &[BROKER],
    ] {
        let memory = FakeMemory::default().goroutine(5, 1, calls);
        let reader = reader();
        // The second time nothing has moved.
        for _ in 0..2 {
            assert_eq!(handlers(&reader, &memory), [expected(5)], "{calls:x?}");
        }
    }
}

#[test]
fn goroutines_outside_the_broker_are_no_handlers() {
    let memory = FakeMemory::default()
        .goroutine(5, 1, &[LOCK, REQUEST, HANDLER])
        .goroutine(6, 1, &[LOCK, SINK, GRAPH])
        .goroutine(7, 1, &[HANDLER]);
    assert_eq!(handlers(&reader(), &memory), []);
}

#[test]
fn handlers_come_with_their_requests_and_in_order() {
    let memory = FakeMemory::default()
        .goroutine(48, 7, &[GRAPH, BROKER, HANDLER])
        .context(1, 0xc0de)
        .input(2, LIST_KEYS)
        .goroutine(7, 1, &[HANDLER])
        .goroutine(20, 7, &[LOCK, REQUEST, BROKER]);
    let found = handlers(&reader(), &memory);
    assert_eq!(found.iter().map(|h| h.goid).collect::<Vec<_>>(), [20, 48]);
    let entry = found[1].entry.as_ref().expect("an input");
    assert_eq!(entry.id.as_deref(), Some(ID));
    assert_eq!(
        (&found[0].entry, &*found[1].ancestors),
        (&None, &[7, 1][..])
    );
}

#[test]
fn without_a_broker_handlers_are_unknown() {
    let reader = GoroutineReader {
        functions: Functions::default(),
        ..reader()
    };
    let memory = FakeMemory::default().goroutine(5, 1, &[GRAPH, BROKER, HANDLER]);
    assert_eq!(reader.sample(&memory).expect("a list").handlers, None);
}

#[test]
fn a_handler_that_waits_for_a_processor_is_found() {
    for status in [RUNNABLE, PREEMPTED] {
        let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
        let memory = memory.member(STATUS, status);
        assert_eq!(goids(&reader(), &memory), [5], "{status}");
    }
}

#[test]
fn a_handler_that_has_begun_to_run_is_kept_for_one_sample() {
    let reader = reader();
    let mut memory = FakeMemory::default().goroutine(5, 1, &[GRAPH, BROKER, HANDLER]);
    memory = memory.member(STATUS, RUNNING);
    assert_eq!(goids(&reader, &memory), NONE, "not seen before");
    memory = memory.member(STATUS, WAITING);
    assert_eq!(goids(&reader, &memory), [5]);
    memory = memory.member(STATUS, RUNNING);
    assert_eq!(goids(&reader, &memory), [5]);
    assert_eq!(goids(&reader, &memory), NONE, "for longer than a sample");
    memory = memory.member(STATUS, WAITING);
    assert_eq!(goids(&reader, &memory), [5]);
    memory = memory.member(STATUS, RUNNING).member(SAVED_SP, 0);
    assert_eq!(goids(&reader, &memory), [5], "it runs");
}

#[test]
fn a_handler_that_has_stopped_elsewhere_meanwhile_is_not_kept() {
    let made_a_system_call = (SAVED_SP, STACKS + 0x80);
    for (member, word) in [(STOPS, 1), (152, 6), (STATUS, SYSCALL), made_a_system_call] {
        let reader = reader();
        let memory = FakeMemory::default().goroutine(5, 1, &[GRAPH, BROKER, HANDLER]);
        assert_eq!(goids(&reader, &memory), [5]);
        let memory = memory.member(STATUS, RUNNING).member(member, word);
        assert_eq!(goids(&reader, &memory), NONE, "{member}");
    }
}

#[test]
fn a_handler_that_moves_while_it_is_read_is_left_out() {
    let mut memory = FakeMemory::default().goroutine(5, 1, &[GRAPH, BROKER, HANDLER]);
    memory.changing = Some((GOROUTINES + 64, Cell::new(0)));
    assert_eq!(goids(&reader(), &memory), NONE);
}
