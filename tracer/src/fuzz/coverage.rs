//! Which code an input reached, where the compiler was asked for a counter at each edge
//! (<https://clang.llvm.org/docs/SanitizerCoverage.html>, "Inline 8bit-counters").

use std::{
    slice,
    sync::{Mutex, PoisonError},
};

/// The counters: beginning and length of each array.
static ARRAYS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called at start by each unit of code that has counters.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let array = (start as usize, stop as usize - start as usize);
    let mut arrays = ARRAYS.lock().unwrap_or_else(PoisonError::into_inner);
    if array.1 > 0 && !arrays.contains(&array) {
        arrays.push(array);
    }
}

/// Called with the addresses of the same edges, which nothing here uses.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_pcs_init(_start: *const usize, _stop: *const usize) {}

/// Counters that are looked at together.
const CHUNK: usize = 256;
const ZEROS: [u8; CHUNK] = [0; CHUNK];

/// What was reached so far.
pub(super) struct Coverage {
    counters: &'static mut [u8],
    /// For each counter, a bit for each magnitude that it had.
    seen: Vec<u8>,
}

impl Coverage {
    /// Nothing reached. `None` if the program has no counters.
    pub(super) fn of_this_program() -> Option<Self> {
        let arrays = ARRAYS.lock().unwrap_or_else(PoisonError::into_inner);
        let &(start, len) = arrays.iter().max_by_key(|(_, len)| *len)?;
        // SAFETY: the linker put them there for as long as the program runs. The code of other threads counts there too, which
        // makes a count wrong and nothing worse.
        let counters = unsafe { slice::from_raw_parts_mut(start as *mut u8, len) };
        let seen = vec![0; counters.len()];
        Some(Self { counters, seen })
    }

    pub(super) fn reset(&mut self) {
        self.counters.fill(0);
    }

    /// Whether something was reached since the reset that was not before, or a new number of times.
    pub(super) fn is_new(&mut self) -> bool {
        let mut is_new = false;
        let chunks = self.counters.chunks(CHUNK).zip(self.seen.chunks_mut(CHUNK));
        // Nearly all are zeros, which are compared as a whole.
        for (counters, seen) in chunks.filter(|(counters, _)| **counters != ZEROS[..counters.len()])
        {
            for (counter, seen) in counters.iter().zip(seen) {
                let bit = magnitude(*counter);
                is_new |= bit & !*seen != 0;
                *seen |= bit;
            }
        }
        is_new
    }

    /// Edges that were reached.
    pub(super) fn edges(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }
}

/// A bit for 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127, more.
fn magnitude(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        _ => 128,
    }
}
