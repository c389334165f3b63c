//! Lines of a file whose lines may be of any length, torn, or no text.

use std::io::{self, BufRead, ErrorKind, Read};

/// Reads line by line.
pub struct LineReader<R> {
    input: R,
    /// A longer line is skipped without being buffered.
    longest: usize,
    buffer: Vec<u8>,
    number: u64,
    is_over: bool,
}

/// A line that was read.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// A line, without its end.
    Whole(&'a [u8]),
    /// The last one, which has no end: it was being written when the trace was cut.
    Torn(&'a [u8]),
    /// One that is too long.
    TooLong,
    /// Compressed data that ends in the middle.
    CutShort,
}

impl<R: BufRead> LineReader<R> {
    /// Lines of an input, each of at most so many bytes.
    pub fn new(input: R, longest: usize) -> Self {
        Self {
            input,
            longest,
            buffer: Vec::new(),
            number: 0,
            is_over: false,
        }
    }

    /// The number of the line read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next line; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.is_over {
            return Ok(None);
        }
        self.buffer.clear();
        let limit = self.longest as u64 + 1;
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.buffer);
        match read {
            Ok(0) => return Ok(None),
            Ok(_) => self.number += 1,
            // Of a compressed file: what comes before is whole.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                // It would say so for ever.
                self.is_over = true;
                return Ok(Some(Line::CutShort));
            }
            Err(error) => return Err(error),
        }
        if self.buffer.ends_with(b"\n") {
            self.buffer.pop();
            return Ok(Some(Line::Whole(&self.buffer)));
        }
        if self.buffer.len() > self.longest {
            self.skip()?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Torn(&self.buffer)))
    }

    fn skip(&mut self) -> io::Result<()> {
        match self.input.skip_until(b'\n') {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            skipped => skipped.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = 1 << 20;

    #[test]
    fn a_line_without_an_end_is_torn() {
        let mut lines = LineReader::new(&b"one\n\ntwo"[..], LONGEST);
        assert_eq!(lines.read().unwrap(), Some(Line::Whole(b"one")));
        assert_eq!(lines.read().unwrap(), Some(Line::Whole(b"")));
        assert_eq!(lines.read().unwrap(), Some(Line::Torn(b"two")));
        assert_eq!(lines.read().unwrap(), None);
        assert_eq!(lines.number(), 3);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_not_buffered() {
        let endless = io::repeat(b'x').take(10 * LONGEST as u64);
        let input = io::BufReader::new(endless.chain(&b"\nnext\n"[..]));
        let mut lines = LineReader::new(input, LONGEST);
        assert_eq!(lines.read().unwrap(), Some(Line::TooLong));
        assert_eq!(lines.read().unwrap(), Some(Line::Whole(b"next")));
        assert_eq!(lines.number(), 2);
        assert!(lines.buffer.capacity() <= 2 * LONGEST + 2);
    }

    /// As a decoder of compressed data that ends in the middle.
    struct Cut;

    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }

    #[test]
    fn compressed_data_that_ends_in_the_middle_ends() {
        let mut lines = LineReader::new(io::BufReader::new(b"one\ntw".chain(Cut)), LONGEST);
        assert_eq!(lines.read().unwrap(), Some(Line::Whole(b"one")));
        assert_eq!(lines.read().unwrap(), Some(Line::CutShort));
        assert_eq!(lines.read().unwrap(), None);
    }
}
