//! A goroutine's stack.
//!
//! On amd64 and arm64 alike a frame pointer points to the caller's frame pointer, and behind that lies
//! the return address into the caller (`runtime/tracestack.go`, `fpTracebackPCs`).

use super::{
    goroutine::Goroutine,
    memory::{Piece, word},
};

/// Most bytes read of a stack, from its top: some hundreds is usual down to the
/// device's code, some thousands while a name is resolved.
const MAX_STACK: u64 = 16 * 1024;
/// Most frames read of a stack, from its top.
const MAX_FRAMES: usize = 64;

/// The frame of a function that has called another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where it continues.
    pub(super) pc: u64,
    /// Its frame pointer.
    pub(super) record: u64,
}

/// The top of a stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack<'a> {
    base: u64,
    bytes: &'a [u8],
}

impl<'a> Stack<'a> {
    /// The part of a goroutine's stack to be read; `None` if the saved pointers are not in the stack.
    pub(super) fn piece(goroutine: &Goroutine) -> Option<Piece> {
        let Goroutine { stack, sp, .. } = goroutine;
        let len = (stack.end.checked_sub(*sp)?).min(MAX_STACK) as usize;
        stack.contains(sp).then_some(Piece { address: *sp, len })
    }

    pub(super) fn of(piece: Piece, bytes: &'a [u8]) -> Self {
        Self {
            base: piece.address,
            bytes,
        }
    }

    pub(super) fn word(&self, at: u64) -> Option<u64> {
        let at = usize::try_from(at.checked_sub(self.base)?).ok()?;
        self.bytes.get(at..at.checked_add(8)?).map(word)
    }

    /// Innermost first.
    pub(super) fn frames(&self, goroutine: &Goroutine) -> Vec<Frame> {
        let innermost = Frame {
            pc: goroutine.pc,
            record: goroutine.bp,
        };
        let frames = std::iter::successors(Some(innermost), |frame| self.caller(*frame));
        frames.take(MAX_FRAMES).collect()
    }

    /// `None` at its end, or if the frame pointer leads back.
    fn caller(&self, frame: Frame) -> Option<Frame> {
        let record = self.word(frame.record)?;
        let pc = self.word(frame.record.checked_add(8)?)?;
        (pc != 0 && record > frame.record).then_some(Frame { pc, record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goroutine(stack: std::ops::Range<u64>) -> Goroutine {
        Goroutine {
            address: 0,
            goid: 1,
            parent: None,
            status: 4,
            stack,
            sp: 0x1000,
            pc: 1,
            bp: 0x1008,
            syscall: None,
            stops: None,
        }
    }

    fn pcs(words: &[u64]) -> Vec<u64> {
        let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let stack = Stack {
            base: 0x1000,
            bytes: &bytes,
        };
        let frames = stack.frames(&goroutine(0..0));
        frames.iter().map(|frame| frame.pc).collect()
    }

    #[test]
    fn looks_at_the_top() {
        let piece = |stack| Stack::piece(&goroutine(stack)).map(|piece| piece.len);
        assert_eq!(piece(0x800..0x1100), Some(0x100));
        assert_eq!(piece(0x800..u64::MAX), Some(MAX_STACK as usize));
        assert_eq!((piece(0x1001..0x2000), piece(0..0x1000)), (None, None));
    }

    #[test]
    fn follows_frame_pointers() {
        assert_eq!(pcs(&[0, 0x1018, 2, 0x1028, 3, 0, 0]), [1, 2, 3]);
        assert_eq!(pcs(&[0, 0x1018, 2, 0x2000, 3]), [1, 2, 3]);
    }

    #[test]
    fn does_not_go_round_in_circles() {
        assert_eq!(pcs(&[0, 0x1008, 2]), [1]);
        assert_eq!(pcs(&[0, 0x1018, 2, 0x1008, 3]), [1, 2]);
    }

    #[test]
    fn stops_at_the_end() {
        assert_eq!(pcs(&[0, u64::MAX, 2]), [1, 2]);
        assert_eq!(pcs(&[0, u64::MAX - 3, 2]), [1, 2]);
        assert_eq!(pcs(&[0]), [1]);
        let steps: Vec<u64> = (0..200).flat_map(|i| [0x1018 + 16 * i, 7]).collect();
        assert_eq!(pcs(&[&[0][..], &steps].concat()).len(), MAX_FRAMES);
    }
}
