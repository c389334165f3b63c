//! Ten thousand goroutines, in our own memory, read as another process's is.

use std::time::Instant;

use super::*;

const MANY: usize = 10_000;
/// Words.
const G: usize = 64;
const STACK: usize = 256;
/// Calls on each of the other stacks.
const DEPTH: u64 = 25;

/// The list's header, the list, the goroutines, their stacks.
struct Server(Vec<u64>);

impl Server {
    fn new() -> Self {
        let mut server = Self(vec![0; 2 + MANY + MANY * (G + STACK)]);
        let pointers = server.address(2);
        server.put(0, &[pointers, MANY as u64]);
        for i in 0..MANY {
            let (g, stack) = (server.address(Self::g(i)), server.address(Self::stack(i)));
            server.put(2 + i, &[g]);
            let end = stack + 8 * STACK as u64;
            server.put(Self::g(i), &[stack, end]);
            server.put(Self::g(i) + 7, &[stack, PARK]);
            server.put(Self::g(i) + 12, &[stack]);
            server.put(Self::g(i) + 18, &[4, 1000 + i as u64]);
            server.put(Self::g(i) + 35, &[1]);
            server.calls(i, &[HANDLER; DEPTH as usize]);
        }
        server
    }

    fn g(i: usize) -> usize {
        2 + MANY + i * G
    }

    fn stack(i: usize) -> usize {
        2 + MANY * (1 + G) + i * STACK
    }

    fn address(&self, word: usize) -> u64 {
        &raw const self.0[word] as u64
    }

    fn put(&mut self, at: usize, words: &[u64]) {
        self.0[at..at + words.len()].copy_from_slice(words);
    }

    fn calls(&mut self, i: usize, calls: &[u64]) {
        for (k, call) in calls.iter().enumerate() {
            let record = Self::stack(i) + 8 * k;
            let next = self.address(record + 8);
            self.put(record, &[next, *call]);
        }
    }
}

/// Counts the bytes that are read.
struct Counted(ProcessMemory, Cell<usize>);

impl Memory for Counted {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.1.set(self.1.get() + into.len());
        self.0.read(address, into)
    }

    fn read_pieces(&self, pieces: &[Piece], into: &mut [u8]) -> Vec<bool> {
        let bytes: usize = pieces.iter().map(|piece| piece.len).sum();
        self.1.set(self.1.get() + bytes);
        self.0.read_pieces(pieces, into)
    }
}

/// Prints the time; for a real server see docs/cost.md.
#[test]
fn ten_thousand_are_read_once_and_then_only_those_that_have_moved() {
    let mut server = Server::new();
    server.calls(4711, &[LOCK, REQUEST, HANDLER]);
    let reader = GoroutineReader {
        list: server.address(0),
        ..reader()
    };
    let own = ProcessMemory::open(std::process::id() as i32).expect("our own");
    let memory = Counted(own, Cell::new(0));
    let mut read = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let sampled = reader.sample(&memory).expect("a list").goroutines;
        println!("{:?}: {} bytes", begun.elapsed(), memory.1.get());
        let goids: Vec<_> = sampled.iter().map(|sample| sample.goid).collect();
        assert_eq!(goids, [1000 + 4711]);
        read.push(memory.1.take());
    }
    let (stacks, others) = (MANY * 8 * STACK, MANY * 8 * (G + 1));
    assert!((stacks..stacks + 2 * others).contains(&read[0]), "{read:?}");
    assert!(read[1] < 2 * others && read[2] == read[1], "{read:?}");
}
