//! A file whose content is made only once of each finding.

use std::io;

use super::line_file::LineFile;

/// Keeps what was made and could not be written. A finding that failed is handed over once more (see
/// [`super::Worker`]), and what is made of it depends on what was made before.
pub(super) struct Made {
    file: LineFile,
    unwritten: Vec<u8>,
}

impl Made {
    pub(super) fn new(file: LineFile) -> Self {
        Self {
            file,
            unwritten: Vec::new(),
        }
    }

    /// Writes what is made, unless something is still to be written: that then. Nothing is no write.
    pub(super) fn write(&mut self, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<()> {
        if self.unwritten.is_empty() {
            self.unwritten = make()?;
        }
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.file.write_whole(&self.unwritten)?;
        self.unwritten.clear();
        Ok(())
    }

    pub(super) fn name(&self) -> String {
        self.file.name()
    }
}
