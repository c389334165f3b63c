//! The JSON Lines trace, written.

use std::io;

use serde_json::Value;
use tracer_format::{Record, WallClock};
use tracer_model::Finding;

use super::{Sink, line_file::LineFile};

pub use tracer_format::line;

/// Writes a line for each finding that is part of a trace.
pub struct Jsonl {
    file: LineFile,
    clock: WallClock,
}

impl Jsonl {
    /// Into this file.
    pub fn new(file: LineFile) -> Self {
        Self {
            file,
            clock: WallClock::default(),
        }
    }
}

impl Sink<Finding> for Jsonl {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        if let Finding::Session(session) = finding {
            self.clock = WallClock::of(session);
        }
        match line(finding, self.clock)? {
            Some(line) => self.file.write_line(&line),
            None => Ok(()),
        }
    }

    fn name(&self) -> String {
        self.file.name()
    }

    fn kind(&self) -> &'static str {
        "trace"
    }
}

/// A record as an object, for sinks that show its fields in another way.
pub(super) fn object(finding: &Finding, clock: WallClock) -> serde_json::Result<Option<Value>> {
    let record = Record::of(finding, clock);
    record.map(serde_json::to_value).transpose()
}
