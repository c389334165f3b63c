//! `--record`: every event as it came, one a line, to be replayed without root. A file named `.gz` is made of
//! gzip members (RFC 1952, 2.2) of many lines each: up to the last whole one it can be read whatever happened.

use std::{
    io::{self, Write},
    mem,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

use super::{Sink, line_file::LineFile};
use tracer_model::Event;

/// Bytes of lines in a member: more would hardly be smaller, and is lost if the agent is killed.
const MEMBER: usize = 64 << 10;

/// Writes events.
pub struct Recording {
    file: LineFile,
    /// What the next member is to hold; `None` if lines are written as they are.
    next: Option<Member>,
}

#[derive(Default)]
struct Member {
    lines: String,
    count: u64,
}

impl Recording {
    /// Compressed, if the file is named so.
    pub fn new(file: LineFile) -> Self {
        let name = file.name();
        let is_packed = Path::new(&name).extension().is_some_and(|end| end == "gz");
        let next = is_packed.then(Member::default);
        Self { file, next }
    }
}

impl Sink<Event> for Recording {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        let line = serde_json::to_string(event)?;
        if self
            .next
            .as_ref()
            .is_some_and(|next| next.lines.len() >= MEMBER)
        {
            self.settle()?;
        }
        let Some(next) = &mut self.next else {
            return self.file.write_line(&line);
        };
        next.lines.push_str(&line);
        next.lines.push('\n');
        next.count += 1;
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        let Some(next) = self.next.as_mut().filter(|next| next.count > 0) else {
            return Ok(());
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(next.lines.as_bytes())?;
        self.file.write_whole(&packed.finish()?)?;
        mem::take(next);
        Ok(())
    }

    fn unsettled(&self) -> u64 {
        self.next.as_ref().map_or(0, |next| next.count)
    }

    fn name(&self) -> String {
        self.file.name()
    }

    fn kind(&self) -> &'static str {
        "recording"
    }
}
