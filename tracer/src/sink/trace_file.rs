//! A trace file in one of the formats.

use std::io;

use super::{Sink, line_file::LineFile};
use tracer_model::Finding;

/// A format of traces.
pub trait Encode: Default + Send + 'static {
    /// The bytes that a finding appends to the trace. They may depend on the findings before.
    fn encode(&mut self, finding: &Finding) -> io::Result<Vec<u8>>;
}

/// Writes findings in a format.
pub struct TraceFile<E> {
    file: LineFile,
    encoder: E,
    /// A finding whose write failed is handed over again (see [`super::Worker`]), and must not be encoded twice.
    unwritten: Vec<u8>,
}

impl<E: Encode> TraceFile<E> {
    /// Writes to this file.
    pub fn new(file: LineFile) -> Self {
        Self {
            file,
            encoder: E::default(),
            unwritten: Vec::new(),
        }
    }
}

impl<E: Encode> Sink<Finding> for TraceFile<E> {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        if self.unwritten.is_empty() {
            self.unwritten = self.encoder.encode(finding)?;
        }
        if !self.unwritten.is_empty() {
            self.file.write_whole(&self.unwritten)?;
            self.unwritten.clear();
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.file.name()
    }

    fn kind(&self) -> &'static str {
        "trace"
    }
}
