//! A variable of a function, and where it lies.

use std::ops::Range;

use super::entry::{Members, TypeOffset};

/// A parameter or variable of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// The function, as Go spells it: `path/of/package.(*Type).Method`.
    pub(crate) function: String,
    /// Its instructions.
    pub(crate) code: Range<u64>,
    pub(super) locations: Vec<Location>,
    pub(super) of: Option<TypeOffset>,
}

/// Where it lies, for some instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) code: Range<u64>,
    pub(super) pieces: Vec<LocationPiece>,
}

/// A part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocationPiece {
    /// Bytes from the canonical frame address; `None` if it is not in memory.
    pub(super) at: Option<i64>,
    /// Bytes; `None` if it is all of it.
    pub(super) len: Option<u64>,
}

/// A structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Structure {
    /// As Go spells it.
    pub(crate) name: String,
    pub(crate) members: Members,
}

impl Local {
    /// In one piece, `at` bytes from the canonical frame address, in these instructions.
    pub(crate) fn in_frame(code: Range<u64>, at: i64) -> Self {
        let pieces = vec![LocationPiece {
            at: Some(at),
            len: None,
        }];
        Self {
            function: String::new(),
            locations: vec![Location {
                code: code.clone(),
                pieces,
            }],
            code,
            of: None,
        }
    }

    /// Where one of its `of` words lies while a call is under way that returns here: bytes from the canonical frame
    /// address. `None` if that is not described, or is inconsistent.
    ///
    /// A word that was in a register at the call lies where it is described to be after it.
    pub(crate) fn word(&self, return_address: u64, word: usize, of: usize) -> Option<i64> {
        let call = return_address.checked_sub(1)?;
        let word = |instruction| self.word_at(instruction, word, of);
        word(call).or_else(|| word(return_address))
    }

    fn word_at(&self, instruction: u64, word: usize, of: usize) -> Option<i64> {
        let mut locations = self.locations.iter();
        let location = locations.find(|location| location.code.contains(&instruction))?;
        if let [LocationPiece { at, len: None }] = location.pieces[..] {
            return at?.checked_add(8 * i64::try_from(word).ok()?);
        }
        let is_word = |piece: &LocationPiece| piece.len == Some(8);
        let words = Some(&location.pieces).filter(|pieces| pieces.iter().all(is_word))?;
        // Go 1.21 describes each word twice.
        let twice = words.len() == 2 * of && words.chunks(2).all(|two| two[0] == two[1]);
        let step = if twice { 2 } else { 1 };
        (words.len() == step * of).then(|| words.get(step * word)?.at)?
    }

    /// The type it is of.
    pub(crate) fn of(&self) -> Option<TypeOffset> {
        self.of
    }

    /// With addresses that differ by this much from those in the file.
    #[must_use]
    pub(crate) fn moved(mut self, by: u64) -> Self {
        let moved = |code: &Range<u64>| code.start.wrapping_add(by)..code.end.wrapping_add(by);
        self.code = moved(&self.code);
        for location in &mut self.locations {
            location.code = moved(&location.code);
        }
        self
    }
}
