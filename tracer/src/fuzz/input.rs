//! Takes an input apart, for targets that read several things at once.

/// What was not taken yet.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    /// At most so many bytes.
    pub(super) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Little-endian; bytes that are missing are 0.
    pub(super) fn number(&mut self, width: usize) -> usize {
        let bytes = self.bytes(width);
        let number = bytes.iter().rev();
        number.fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// Bytes after their length, which has 2 bytes.
    pub(super) fn sized(&mut self) -> &'a [u8] {
        let len = self.number(2);
        self.bytes(len)
    }
}

/// As [`Input::sized`] reads it.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a short part");
    [&len.to_le_bytes()[..], bytes].concat()
}
