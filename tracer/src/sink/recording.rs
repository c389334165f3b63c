//! `--record`: every event, one a line, to be replayed without root. A `.gz` file consists of gzip members (RFC 1952,
//! 2.2) of many lines each: it can be read up to the last whole member, also if the agent was killed.

use std::{
    io::{self, Write},
    mem,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

use super::{Sink, line_file::LineFile};
use crate::console;
use tracer_model::Event;

/// Bytes of lines in a member: a larger one hardly compresses better, and is lost if the agent is killed.
const MEMBER_BYTES: usize = 64 << 10;

/// Writes events.
pub struct Recording {
    file: LineFile,
    /// Lines of the next member; `None` if the file is not compressed.
    next: Option<Member>,
}

#[derive(Default)]
struct Member {
    lines: String,
    count: u64,
}

impl Recording {
    /// Compressed if the name of the file ends in `.gz`.
    pub fn new(file: LineFile) -> Self {
        let name = file.name();
        let is_compressed = Path::new(&name).extension().is_some_and(|end| end == "gz");
        let next = is_compressed.then(Member::default);
        Self { file, next }
    }
}

impl Sink<Event> for Recording {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        let line = serde_json::to_string(event)?;
        if self
            .next
            .as_ref()
            .is_some_and(|next| next.lines.len() >= MEMBER_BYTES)
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
        let mut member = GzEncoder::new(Vec::new(), Compression::fast());
        member.write_all(next.lines.as_bytes())?;
        self.file.write_whole(&member.finish()?)?;
        mem::take(next);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.settle()?;
        if self.file.is_deleted() {
            return Err(io::Error::other("it was deleted while it was written"));
        }
        if self.file.has_moved() {
            console::print(&format!(
                "vault-tracer: the recording is not in {}: that was renamed while it was written, and holds all of it",
                self.file.name()
            ));
        }
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
