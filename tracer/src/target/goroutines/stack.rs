//! A goroutine's stack.
//!
//! On amd64 and arm64 alike a frame pointer points to the caller's frame pointer, and behind that lies
//! the return address into the caller (`runtime/tracestack.go`, `fpTracebackPCs`).

use std::io;

use super::{
    goroutine::Goroutine,
    memory::{Memory, word},
};

/// Bytes from its top beyond which a stack is not looked at: some hundreds is usual down to the
/// device's code, some thousands in a look-up.
const MAX_STACK: u64 = 16 * 1024;
/// Frames from its top beyond which a stack is not looked at.
const MAX_FRAMES: usize = 64;

/// A function that has called another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where it will go on.
    pub(super) pc: u64,
    /// Its frame pointer.
    pub(super) record: u64,
}

/// The top of a stack.
#[derive(Debug)]
pub(super) struct Stack {
    base: u64,
    bytes: Vec<u8>,
}

impl Stack {
    pub(super) fn read(memory: &impl Memory, goroutine: &Goroutine) -> io::Result<Self> {
        let Goroutine { stack, sp, .. } = goroutine;
        if !stack.contains(sp) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; (stack.end - sp).min(MAX_STACK) as usize];
        memory.read(*sp, &mut bytes)?;
        Ok(Self { base: *sp, bytes })
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

    /// `None` where it ends, or what should be its frame pointer leads back.
    fn caller(&self, frame: Frame) -> Option<Frame> {
        let record = self.word(frame.record)?;
        let pc = self.word(frame.record.checked_add(8)?)?;
        (pc != 0 && record > frame.record).then_some(Frame { pc, record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(words: &[u64]) -> Stack {
        Stack {
            base: 0x1000,
            bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        }
    }

    fn pcs(words: &[u64]) -> Vec<u64> {
        let goroutine = Goroutine {
            address: 0,
            goid: 1,
            parent: None,
            status: 4,
            stack: 0..0,
            sp: 0x1000,
            pc: 1,
            bp: 0x1008,
        };
        let frames = stack(words).frames(&goroutine);
        frames.iter().map(|frame| frame.pc).collect()
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
