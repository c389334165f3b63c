//! Lines for standard error. While the full-screen view is shown they would damage it, so they are buffered until it is
//! closed.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines that are buffered; the oldest are dropped first.
const MAX_LINES: usize = 200;

static CONSOLE: Mutex<Console> = Mutex::new(Console {
    is_buffering: false,
    last: None,
    lines: VecDeque::new(),
    dropped: 0,
});

struct Console {
    is_buffering: bool,
    /// The last line since buffering started.
    last: Option<String>,
    lines: VecDeque<String>,
    dropped: u64,
}

fn console() -> MutexGuard<'static, Console> {
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a line, now or when buffering stops.
pub(crate) fn print(line: &str) {
    let mut console = console();
    if console.is_buffering {
        console.last = Some(line.to_owned());
    }
    // Where standard error is a file, it damages no screen.
    if console.is_buffering && io::stderr().is_terminal() {
        if console.lines.len() == MAX_LINES {
            console.lines.pop_front();
            console.dropped += 1;
        }
        console.lines.push_back(line.to_owned());
    } else {
        // There is nowhere to report that this failed.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

pub(crate) fn start_buffering() {
    console().is_buffering = true;
}

/// The last line since buffering started.
pub(crate) fn last_line() -> Option<String> {
    console().last.clone()
}

/// Prints the buffered lines.
pub(crate) fn stop_buffering() {
    let mut console = console();
    console.is_buffering = false;
    console.last = None;
    let mut text = String::new();
    if console.dropped > 0 {
        text = format!(
            "vault-tracer: {} earlier messages are left out\n",
            console.dropped
        );
        console.dropped = 0;
    }
    for line in console.lines.drain(..) {
        text.push_str(&line);
        text.push('\n');
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// For a logger: each write is one or several lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StatusLines;

impl Write for StatusLines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(text).lines() {
            print(line);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
