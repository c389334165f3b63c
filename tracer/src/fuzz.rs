//! Fuzzing of all that reads bytes of others: `cargo xtask fuzz`, and for half a second each with the unit tests.
//!
//! A target is a function of bytes ([`targets`]). It must not panic, and takes no more memory and processor time than its
//! limits. Inputs are mutations of its seeds and of its committed corpus (`fuzz/corpus/TARGET`, where each input that once failed
//! stays). Where the program was compiled with coverage counters, as `cargo xtask fuzz` does, inputs that reach something new
//! are mutated further; else the mutations are those of a fixed seed.

mod allocations;
mod coverage;
mod elf;
mod input;
mod mutate;
mod run;
mod targets;

pub(crate) use self::allocations::peak;

/// What reads bytes of others, and what that may cost.
struct Target {
    name: &'static str,
    /// What it reads, for the table of `docs/fuzzing.md`.
    reads: &'static str,
    /// Whose bytes these are.
    written_by: &'static str,
    run: fn(&[u8]),
    /// Valid inputs to begin with, beside those of the corpus.
    seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mutations put in.
    words: &'static [&'static str],
    limits: Limits,
}

/// What one input may take.
#[derive(Clone, Copy)]
struct Limits {
    /// Longest input, bytes.
    input: usize,
    /// Bytes of memory at once, whatever the input.
    fixed: usize,
    /// And as many for each byte of the input.
    per_byte: usize,
}

impl Limits {
    fn memory(self, input: usize) -> usize {
        self.fixed + self.per_byte * input
    }
}
