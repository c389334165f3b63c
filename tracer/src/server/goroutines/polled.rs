//! For which sockets goroutines wait that accept connections, or read what the other nodes of the cluster answer.
//!
//! The runtime keeps a record of each descriptor that it polls, which names the goroutine that waits for it
//! (`runtime/netpoll.go`, `pollDesc`: `fd`, `rg`). That goroutine's stack has a pointer to the record
//! (`internal/poll/fd_poll_runtime.go`, `runtime_pollWait`). Neither needs debugging information.

use std::io;

use super::{
    GoroutineReader,
    goroutine::Goroutine,
    list::GoroutineList,
    memory::{self, Memory, Piece, word},
    roles::FunctionRole,
    sample::each_stack,
    stack::Stack,
};

/// Words of a stack that may point to the record: it is in the frames of the functions that wait for it.
const WORDS: u64 = 128;

/// Bytes read of a record: `rg` is at 40, or before (Go 1.14 to 1.27).
const RECORD: usize = 64;

/// Most descriptors of a process (`fs.nr_open`, `include/linux/fs.h`).
const MAX_DESCRIPTOR: u64 = 1 << 20;

/// What a goroutine waits for on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollUse {
    /// Connections of clients.
    AcceptsClients,
    /// Connections of other nodes of the cluster.
    AcceptsNodes,
    /// What a gRPC server answers.
    ReadsGrpc,
}

/// A socket that a goroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PolledSocket {
    pub(crate) descriptor: i32,
    pub(crate) used: PollUse,
}

impl GoroutineReader {
    /// The sockets for which goroutines wait now; without those that are on the move.
    pub(crate) fn polled_sockets(&self, memory: &impl Memory) -> io::Result<Vec<PolledSocket>> {
        let all = self.goroutines(memory, &mut GoroutineList::default())?;
        let parked: Vec<_> = all
            .iter()
            .filter(|g| g.is_parked())
            .map(|g| (g, ()))
            .collect();
        let mut waiting = Vec::new();
        each_stack(memory, &parked, |(goroutine, ()), stack| {
            let functions = self.functions_on(stack, goroutine);
            let roles: Vec<_> = functions
                .known
                .iter()
                .flatten()
                .filter_map(|f| f.role)
                .collect();
            if let Some(used) = PollUse::of(&roles) {
                waiting.push((
                    goroutine.address,
                    used,
                    candidates(goroutine, functions.stack),
                ));
            }
        });
        let sockets = waiting
            .into_iter()
            .filter_map(|(goroutine, used, records)| {
                let descriptor = descriptor(memory, goroutine, &records)?;
                Some(PolledSocket { descriptor, used })
            });
        Ok(sockets.collect())
    }
}

impl PollUse {
    fn of(roles: &[FunctionRole]) -> Option<Self> {
        let has = |role| roles.contains(&role);
        match (has(FunctionRole::Accept), has(FunctionRole::ServesNodes)) {
            (true, true) => Some(Self::AcceptsNodes),
            (true, false) => Some(Self::AcceptsClients),
            (false, _) => has(FunctionRole::GrpcClient).then_some(Self::ReadsGrpc),
        }
    }
}

/// What may point to the record.
fn candidates(goroutine: &Goroutine, stack: Stack<'_>) -> Vec<Piece> {
    let words = (0..WORDS).map_while(|i| stack.word(goroutine.sp + 8 * i));
    let mut addresses: Vec<_> = words
        .filter(|word| word % 8 == 0 && *word > u64::from(u16::MAX))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let piece = |address| Piece {
        address,
        len: RECORD,
    };
    addresses.into_iter().map(piece).collect()
}

/// That of the record that names the goroutine. It comes after a pointer and, up to Go 1.18, a lock, which is free.
fn descriptor(memory: &impl Memory, goroutine: u64, records: &[Piece]) -> Option<i32> {
    let mut found = None;
    memory::in_batches(memory, records, |_, bytes| {
        let words: Vec<_> = bytes
            .unwrap_or_default()
            .chunks_exact(8)
            .map(word)
            .collect();
        let names_it = words.iter().skip(2).any(|word| *word == goroutine);
        let descriptor = words.iter().skip(1).take(2).find(|word| **word != 0);
        let descriptor = descriptor.filter(|fd| names_it && **fd < MAX_DESCRIPTOR);
        found = found.or(descriptor.and_then(|fd| i32::try_from(*fd).ok()));
    });
    found
}
