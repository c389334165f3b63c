//! Goroutines of a node of a cluster: who accepts connections, and who waits for the active node.

use super::*;

const RECORD: u64 = 0x70_0000;

impl FakeMemory {
    /// With a pointer on the stack to the record of this descriptor, which names the goroutine that was added last. `at`: where
    /// the descriptor is.
    fn polls(mut self, descriptor: u64, at: u64) -> Self {
        let last = self.len - 1;
        let record = RECORD + 0x1000 * last;
        self.fill(record, 0x100);
        let goroutine = GOROUTINES + 0x200 * last;
        self.words
            .extend([(record + at, descriptor), (record + 32, goroutine)]);
        self.words.insert(STACKS + 0x1000 * last + 24, record);
        self
    }
}

fn polled(memory: &FakeMemory) -> Vec<(i32, PollUse)> {
    let sockets = reader().polled_sockets(memory).expect("a list");
    sockets.iter().map(|s| (s.descriptor, s.used)).collect()
}

#[test]
fn who_accepts_on_a_socket_says_whose_connections_come_there() {
    use PollUse::{AcceptsClients, AcceptsNodes, ReadsGrpc};
    let memory = FakeMemory::default()
        .goroutine(5, 1, &[ACCEPT, HANDLER])
        .polls(7, 8)
        .goroutine(6, 1, &[ACCEPT, NODES])
        // Up to Go 1.18 a lock lies before the descriptor.
        .polls(9, 16)
        .goroutine(8, 1, &[GRPC_CLIENT])
        .polls(11, 8)
        // None of these is polled for what matters.
        .goroutine(9, 1, &[HANDLER])
        .polls(12, 8)
        .goroutine(10, 1, &[NODES])
        .polls(13, 8);
    assert_eq!(
        polled(&memory),
        [(7, AcceptsClients), (9, AcceptsNodes), (11, ReadsGrpc)]
    );
}

#[test]
fn a_record_that_names_another_goroutine_says_nothing() {
    let mut memory = FakeMemory::default()
        .goroutine(5, 1, &[ACCEPT, NODES])
        .polls(7, 8);
    memory.words.insert(RECORD + 32, GOROUTINES + 0x200);
    assert_eq!(polled(&memory), []);
    // Nothing points to it; it is on the move.
    let lost = FakeMemory::default().goroutine(5, 1, &[ACCEPT, NODES]);
    assert_eq!(polled(&lost), []);
    let running = FakeMemory::default()
        .goroutine(5, 1, &[ACCEPT, NODES])
        .member(144, 2)
        .polls(7, 8);
    assert_eq!(polled(&running), []);
}

#[test]
fn a_request_waits_for_the_active_node_below_the_call_of_it() {
    let memory = FakeMemory::default()
        .goroutine(7, 1, &[HANDLER])
        .goroutine(5, 7, &[FORWARD, HANDLER])
        .goroutine(6, 1, &[LOCK, REQUEST, BROKER, HANDLER]);
    let reader = reader();
    for unmoved in [&[][..], &[5, 6]] {
        let samples = reader.sample(&memory).expect("a list");
        assert_eq!(samples.forwarded, [(5, vec![7, 1])]);
        let mut found = samples.unmoved;
        found.sort_unstable();
        assert_eq!(found, unmoved);
    }
}
