//! A section that is read in any order, without holding all of it.

use std::io::{self, Read};

use super::{AT_ONCE, FileRange, Source};

/// Bytes that are read at once where a reader goes somewhere else: it may come back at once.
const ELSEWHERE: usize = 4096;

/// A part of a section, and where the rest is.
pub(crate) struct Window<'a> {
    /// `None` if all of it is here.
    source: Option<&'a dyn Source>,
    /// Where the section begins in the file.
    offset: u64,
    len: u64,
    /// Where the part begins in the section.
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn Source, offset: u64, len: u64) -> Self {
        Self {
            source: Some(source),
            offset,
            len,
            at: 0,
            bytes: Vec::new(),
        }
    }

    /// Of a section that is in memory.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self {
            source: None,
            offset: 0,
            len: bytes.len() as u64,
            at: 0,
            bytes,
        }
    }

    /// So many bytes from this offset on; fewer at the section's end.
    pub(crate) fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        if self.known(at).len() < len && self.source.is_some() {
            let end = self.at + self.bytes.len() as u64;
            let goes_on = (self.at..=end + AT_ONCE as u64).contains(&at);
            self.fill(at, len.max(if goes_on { AT_ONCE } else { ELSEWHERE }))?;
        }
        let known = self.known(at);
        Ok(&known[..known.len().min(len)])
    }

    /// The bytes from this offset on up to the first zero, of which there are at most [`AT_ONCE`].
    pub(crate) fn string(&mut self, at: u64) -> io::Result<&[u8]> {
        self.get(at, 1)?;
        if end(self.known(at)).is_none() && self.source.is_some() {
            self.fill(at, AT_ONCE)?;
        }
        let known = self.known(at);
        Ok(&known[..end(known).unwrap_or(known.len())])
    }

    /// What is here from this offset on.
    fn known(&self, at: u64) -> &[u8] {
        let from = at.checked_sub(self.at);
        let from = from.and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.bytes.get(from..))
            .unwrap_or_default()
    }

    fn fill(&mut self, at: u64, len: usize) -> io::Result<()> {
        let Some(source) = self.source else {
            return Ok(());
        };
        let remaining = self.len.saturating_sub(at).min(len as u64);
        let range = FileRange {
            source,
            at: self.offset.saturating_add(at),
            remaining,
        };
        self.at = at;
        self.bytes.clear();
        range.take(remaining).read_to_end(&mut self.bytes)?;
        Ok(())
    }
}

fn end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_same_as_from_memory() {
        let text: Vec<u8> = (0..40_000_u32)
            .flat_map(|n| format!("{n}\0").into_bytes())
            .collect();
        let file = [&[7; 100][..], &text, b"behind"].concat();
        let bytes = &file[..];
        let mut parts = Window::new(&bytes, 100, text.len() as u64);
        let mut whole = Window::of(text.clone());
        let last = text.len() as u64 - 3;
        for at in [0, 1, 150_000, 65_530, 3, 199_990, last, last + 1, last + 9] {
            let [a, b] = [&mut parts, &mut whole].map(|w| w.string(at).expect("readable").to_vec());
            assert_eq!(a, b, "{at}");
            let [a, b] =
                [&mut parts, &mut whole].map(|w| w.get(at, 70).expect("readable").to_vec());
            assert_eq!(a, b, "{at}");
        }
        assert_eq!(parts.string(2 * 5).expect("readable"), b"5");
        assert!(parts.bytes.len() <= AT_ONCE);
    }
}
