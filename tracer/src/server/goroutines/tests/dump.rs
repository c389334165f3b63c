//! All goroutines by equal stacks.

use std::collections::BTreeSet;

use super::*;

/// Index of a wait's words.
const RECEIVE: u64 = 1;

fn stacks(memory: &FakeMemory, without: &[u64]) -> Stacks {
    let without = without.iter().copied().collect();
    reader().stacks_without(memory, &without).expect("a list")
}

/// How many, what for, since when.
fn groups(stacks: &Stacks) -> Vec<(usize, Option<&str>, Option<u64>)> {
    let groups = stacks.groups.iter();
    groups
        .map(|group| (group.goroutines, group.wait.as_deref(), group.since))
        .collect()
}

fn with_words(mut memory: FakeMemory) -> FakeMemory {
    memory.text(REASONS + 16 * RECEIVE, REASONS + 0x1000, "chan receive");
    memory
}

#[test]
fn goroutines_with_equal_stacks_are_one_group() {
    let receives = |goid, since| {
        move |memory: FakeMemory| {
            let memory = memory.goroutine(goid, 1, &[HANDLER]);
            memory.member(176, RECEIVE).member(168, since)
        }
    };
    let memory = receives(9, 0)(receives(8, 700)(receives(7, 500)(FakeMemory::default())));
    let memory = with_words(memory.goroutine(10, 1, &[ACCEPT, HANDLER]).member(176, 99));
    let all = stacks(&memory, &[]);
    assert_eq!(
        groups(&all),
        [(3, Some("chan receive"), Some(500)), (1, None, None)]
    );
    assert_eq!(all.groups[0].calls, [PARK, HANDLER]);
    assert_eq!(all.groups[1].calls, [PARK, ACCEPT, HANDLER]);
    assert_eq!(groups(&stacks(&memory, &[7, 8])).len(), 2);
    assert_eq!(stacks(&memory, &[7, 8, 9]).groups[0].calls[1], ACCEPT);
}

#[test]
fn what_runs_or_moves_has_no_stack_to_show() {
    let memory = FakeMemory::default()
        .goroutine(5, 1, &[HANDLER])
        .member(144, 2)
        .goroutine(6, 1, &[HANDLER])
        // It waits for a processor, and for nothing else, whatever it waited for before.
        .member(144, 1)
        .member(176, RECEIVE)
        .goroutine(7, 1, &[HANDLER])
        .member(144, 6);
    let all = stacks(&with_words(memory), &[]);
    assert_eq!((groups(&all), all.unread), (vec![(1, None, None)], 1));
    let mut memory = FakeMemory::default().goroutine(5, 1, &[HANDLER]);
    memory.changing = Some((GOROUTINES + 64, Cell::new(0)));
    let all = stacks(&memory, &[]);
    assert_eq!((groups(&all), all.unread), (vec![], 1));
}

#[test]
fn a_server_with_a_clock_of_its_own_says_no_times() {
    let memory = FakeMemory::default().goroutine(5, 1, &[HANDLER]);
    let memory = memory.member(168, 500);
    let since = |reader: &GoroutineReader| {
        let waiting = reader.waiting_since(&memory, &BTreeSet::from([5, 6]));
        waiting.expect("a list")
    };
    assert_eq!(since(&reader()), (1, HashMap::from([(5, 500)])));
    let elsewhere = GoroutineReader {
        shares_clock: false,
        ..reader()
    };
    assert_eq!(since(&elsewhere), (1, HashMap::new()));
}

#[test]
fn different_stacks_are_bounded() {
    let memory = FakeMemory::default()
        .goroutine(5, 1, &[HANDLER])
        .goroutine(6, 1, &[ACCEPT, HANDLER])
        .goroutine(7, 1, &[HANDLER]);
    let all = reader().at_most(1, &memory, &BTreeSet::new());
    let all = all.expect("a list");
    assert_eq!((groups(&all), all.ungrouped), (vec![(2, None, None)], 1));
}

#[test]
fn functions_of_a_running_program_are_named_or_it_says_why_not() {
    let error = function_names(std::process::id() as i32, &BTreeSet::new());
    let error = error.expect_err("no Go program").to_string();
    assert!(error.contains(".gopclntab"), "{error}");
}
