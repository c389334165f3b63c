//! `--record`: every event as it came, one a line, to be replayed without root.

use std::io;

use super::{Sink, line_file::LineFile};
use crate::event::Event;

/// Writes events.
pub struct Recording(pub LineFile);

impl Sink<Event> for Recording {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.0.write_line(&serde_json::to_string(event)?)
    }

    fn name(&self) -> String {
        self.0.name()
    }
}
