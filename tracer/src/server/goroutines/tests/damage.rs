//! Arbitrary and damaged memory.

use proptest::prelude::*;

use super::{requests::LIST_KEYS, *};

/// The same few words everywhere.
pub(super) struct Arena(Vec<u8>);

impl Arena {
    pub(super) fn of(words: &[u64]) -> Self {
        Self(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }
}

impl Memory for Arena {
    fn read(&self, address: u64, mut into: &mut [u8]) -> io::Result<()> {
        if address >> 62 == 3 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut from = &self.0[address as usize % self.0.len()..];
        while !into.is_empty() {
            let (now, rest) = into.split_at_mut(from.len().min(into.len()));
            now.copy_from_slice(&from[..now.len()]);
            (into, from) = (rest, &self.0);
        }
        Ok(())
    }
}

fn anything() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..8_u64,
        0..0x800_u64,
        STACKS..STACKS + 0x2000,
        any::<u64>(),
    ]
}

proptest! {
    // Many of them have a list of 100,000 goroutines.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_memory_is_survived(words in prop::collection::vec(anything(), 1..200)) {
        let _ = reader().sample(&Arena::of(&words));
    }
}

/// A handler that dials, one that queues, and a sink.
pub(super) fn of_a_server() -> FakeMemory {
    FakeMemory::default()
        .goroutine(30, 1, &[CONNECT, RECONNECT, REQUEST, HANDLER])
        .goroutine(31, 1, &[LOCK, REQUEST, HANDLER])
        .device(2, "tcp", "10.0.0.2:1515")
        .goroutine(32, 1, &[LOCK, REQUEST, BROKER])
        .input(3, LIST_KEYS)
}

proptest! {
    #[test]
    fn any_damage_is_survived(at in 0..0x2000_u64, word in anything(), which in 0..6_usize) {
        let mut memory = of_a_server();
        let places = [LIST, GOROUTINES, STACKS, DEVICE, STACKS + 0x2000, INPUTS + 0x1_0000];
        let base = places[which];
        memory.words.insert(base + at % 0x400 / 8 * 8, word);
        let _ = reader().sample(&memory);
    }
}
