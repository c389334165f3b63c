//! The JSON Lines trace, written.

use std::io;

use serde_json::Value;
use tracer_format::{Record, WallClock};
use tracer_model::Finding;

use super::trace_file::{Encode, TraceFile};

pub use tracer_format::line;

/// Writes a line for each finding that is part of a trace.
pub type Jsonl = TraceFile<JsonLines>;

/// Makes lines of findings.
#[derive(Debug, Default)]
pub struct JsonLines {
    clock: WallClock,
}

impl Encode for JsonLines {
    fn encode(&mut self, finding: &Finding) -> io::Result<Vec<u8>> {
        if let Finding::Session(session) = finding {
            self.clock = WallClock::of(session);
        }
        let line = line(finding, self.clock)?;
        Ok(line.map_or_else(Vec::new, |line| (line + "\n").into_bytes()))
    }
}

/// A record as an object, for sinks that show its fields in another way.
pub(super) fn object(finding: &Finding, clock: WallClock) -> serde_json::Result<Option<Value>> {
    let record = Record::of(finding, clock);
    record.map(serde_json::to_value).transpose()
}
