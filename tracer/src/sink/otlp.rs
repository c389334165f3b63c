//! The trace as OpenTelemetry spans ([`spans`]), in the format of the collector's file exporter: one
//! `ExportTraceServiceRequest` a line, in the JSON of OTLP.

mod attributes;
pub mod collector;
mod describe;
mod ids;
pub mod spans;

use std::io;

use self::spans::Spans;
use super::{Sink, line_file::LineFile, made::Made};
use tracer_model::Finding;

/// Writes findings as spans.
pub struct Otlp {
    file: Made,
    spans: Spans,
}

impl Otlp {
    /// Writes to this file.
    pub fn new(file: LineFile) -> Self {
        Self {
            file: Made::new(file),
            spans: Spans::default(),
        }
    }
}

impl Sink<Finding> for Otlp {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let spans = &mut self.spans;
        self.file.write(|| {
            let line = line(spans, finding)?;
            Ok(line.map_or_else(Vec::new, |line| (line + "\n").into_bytes()))
        })
    }

    fn name(&self) -> String {
        self.file.name()
    }

    fn kind(&self) -> &'static str {
        "trace"
    }
}

/// The line of a finding, if it makes spans.
pub fn line(spans: &mut Spans, finding: &Finding) -> serde_json::Result<Option<String>> {
    let request = spans.on(finding);
    request.as_ref().map(serde_json::to_string).transpose()
}
