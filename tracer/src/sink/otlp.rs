//! The trace as OpenTelemetry spans, in the shape of the collector's file exporter: one
//! `ExportTraceServiceRequest` a line, in the JSON of OTLP. What is said in which span is in [`spans`].

mod attributes;
mod ids;
pub mod spans;

use std::io;

use self::spans::Spans;
use super::{Sink, line_file::LineFile};
use crate::core::finding::Finding;

/// Writes findings as spans.
pub struct Otlp {
    file: LineFile,
    spans: Spans,
    /// What could not be written yet: mapping a finding again would find its request already told.
    unwritten: Option<String>,
}

impl Otlp {
    /// Into this file.
    pub fn new(file: LineFile) -> Self {
        Self {
            file,
            spans: Spans::default(),
            unwritten: None,
        }
    }
}

impl Sink<Finding> for Otlp {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        // A finding that failed is handed over once more: see `Worker`.
        let line = match self.unwritten.take() {
            Some(line) => Some(line),
            None => line(&mut self.spans, finding)?,
        };
        let Some(line) = line else { return Ok(()) };
        let result = self.file.write_line(&line);
        if result.is_err() {
            self.unwritten = Some(line);
        }
        result
    }

    fn name(&self) -> String {
        self.file.name()
    }
}

/// The line of a finding, for those that make spans.
pub fn line(spans: &mut Spans, finding: &Finding) -> serde_json::Result<Option<String>> {
    let request = spans.on(finding);
    request.as_ref().map(serde_json::to_string).transpose()
}
