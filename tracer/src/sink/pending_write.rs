//! A file whose bytes are encoded only once for each finding.

use std::io;

use super::line_file::LineFile;

/// Keeps encoded bytes that could not be written. A finding that failed is handed over once more (see
/// [`super::Worker`]), and its encoding depends on the state that earlier encodings left.
pub(super) struct PendingWrite {
    file: LineFile,
    pending: Vec<u8>,
}

impl PendingWrite {
    pub(super) fn new(file: LineFile) -> Self {
        Self {
            file,
            pending: Vec::new(),
        }
    }

    /// Writes what is encoded, or what is still pending instead. Nothing is no write.
    pub(super) fn write(&mut self, encode: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<()> {
        if self.pending.is_empty() {
            self.pending = encode()?;
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.file.write_whole(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    pub(super) fn name(&self) -> String {
        self.file.name()
    }
}
