//! How far long work is: a line on standard error, if that is a terminal and there is much to read.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Read, Write},
    rc::Rc,
    time::{Duration, Instant},
};

use tracer_format::text::bytes;

/// Less than this is read before anybody could look.
const MUCH: u64 = 16 << 20;

/// Least time between two states of the line.
const INTERVAL: Duration = Duration::from_millis(100);

/// Erases a line of a terminal.
const ERASE: &str = "\r\x1b[K";

/// A line, by bytes read. Gone when it is dropped.
pub(super) struct Progress(Rc<ProgressLine>);

struct ProgressLine {
    what: &'static str,
    total: Option<u64>,
    is_shown: bool,
    began: Instant,
    read: Cell<u64>,
    drawn: Cell<Option<Instant>>,
}

struct CountingReader<R> {
    input: R,
    line: Rc<ProgressLine>,
}

impl Progress {
    /// Over so many bytes, if that is known.
    pub(super) fn over(what: &'static str, total: Option<u64>) -> Self {
        Self(Rc::new(ProgressLine {
            what,
            total,
            is_shown: total.is_none_or(|total| total >= MUCH) && io::stderr().is_terminal(),
            began: Instant::now(),
            read: Cell::default(),
            drawn: Cell::default(),
        }))
    }

    /// What is read through this moves the line.
    pub(super) fn through<R: Read>(&self, input: R) -> impl Read + use<R> {
        let line = Rc::clone(&self.0);
        CountingReader { input, line }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0.drawn.get().is_some() {
            draw("");
        }
    }
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.line.add(read as u64);
        Ok(read)
    }
}

impl ProgressLine {
    fn add(&self, read: u64) {
        let read = self.read.get() + read;
        self.read.set(read);
        let is_recent = |drawn: Instant| drawn.elapsed() < INTERVAL;
        if self.is_shown && !self.drawn.get().is_some_and(is_recent) {
            self.drawn.set(Some(Instant::now()));
            let text = text(self.what, read, self.total, self.began.elapsed());
            draw(&text);
        }
    }
}

/// A terminal that is gone shows nothing.
fn draw(text: &str) {
    let _ = write!(io::stderr(), "{ERASE}{text}");
}

fn text(what: &str, read: u64, total: Option<u64>, elapsed: Duration) -> String {
    let done = bytes(read);
    let per_second = read as f64 / elapsed.as_secs_f64().max(0.001);
    match total {
        Some(total) => {
            let left = total.saturating_sub(read) as f64 / per_second.max(1.0);
            let percent = read.min(total) * 100 / total.max(1);
            let total = bytes(total);
            format!("{what} {percent} %, {done} of {total}, {left:.0} s to go")
        }
        None => format!("{what} {done}, {}/s", bytes(per_second as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_and_how_long() {
        let elapsed = Duration::from_secs(2);
        let half = text("reading", 20_000_000, Some(40_000_000), elapsed);
        assert_eq!(half, "reading 50 %, 20.0 MB of 40.0 MB, 2 s to go");
        let pipe = text("reading", 20_000_000, None, elapsed);
        assert_eq!(pipe, "reading 20.0 MB, 10.0 MB/s");
        let nothing = text("reading", 0, Some(0), Duration::ZERO);
        assert_eq!(nothing, "reading 0 %, 0 B of 0 B, 0 s to go");
    }

    #[test]
    fn several_inputs_are_one_line() {
        let progress = Progress::over("reading", None);
        for _ in 0..2 {
            let mut all = Vec::new();
            let read = progress.through(&b"0123456789"[..]).read_to_end(&mut all);
            assert_eq!(read.ok(), Some(10));
        }
        assert_eq!(progress.0.read.get(), 20);
    }
}
