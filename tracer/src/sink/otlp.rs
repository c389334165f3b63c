//! The trace as OpenTelemetry spans ([`spans`]), in the format of the collector's file exporter: one
//! `ExportTraceServiceRequest` a line, in the JSON of OTLP.

mod attributes;
pub mod collector;
mod describe;
mod ids;
pub mod messages;
pub mod spans;

use std::io;

use self::spans::Spans;
use super::trace_file::{Encode, TraceFile};
use tracer_model::Finding;

/// Writes findings as spans.
pub type Otlp = TraceFile<Spans>;

impl Encode for Spans {
    fn encode(&mut self, finding: &Finding) -> io::Result<Vec<u8>> {
        let line = line(self, finding)?;
        Ok(line.map_or_else(Vec::new, |line| (line + "\n").into_bytes()))
    }
}

/// The line of a finding, if it makes spans.
pub fn line(spans: &mut Spans, finding: &Finding) -> serde_json::Result<Option<String>> {
    let request = spans.on(finding);
    request.as_ref().map(serde_json::to_string).transpose()
}
