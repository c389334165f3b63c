//! The JSON Lines trace, written.

use std::io;

use serde_json::Value;
use tracer_format::{
    Record, WallClock,
    record::{self, Rotated},
};
use tracer_model::{Finding, Session};

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

    fn end_file(&mut self, part: u32) -> io::Result<Vec<u8>> {
        own_line(&Record::Rotated(Rotated { part }))
    }

    fn begin_file(&mut self, session: &Session, part: u32) -> io::Result<Vec<u8>> {
        own_line(&Record::Session(record::Session {
            part: Some(part),
            ..record::Session::of(session, self.clock)
        }))
    }
}

/// The line of a record that is of the file, not of a finding.
fn own_line(record: &Record) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

/// A record as an object, for sinks that show its fields in another way.
pub(super) fn object(finding: &Finding, clock: WallClock) -> serde_json::Result<Option<Value>> {
    let record = Record::of(finding, clock);
    record.map(serde_json::to_value).transpose()
}
