//! What is said beside the report, a line at a time: on standard error, or, while a screen is shown that it would tear,
//! kept until that is left.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines that are kept; the eldest go first.
const KEPT: usize = 200;

static KEEPER: Mutex<Keeper> = Mutex::new(Keeper {
    holds: false,
    last: None,
    lines: VecDeque::new(),
    dropped: 0,
});

struct Keeper {
    holds: bool,
    /// While it holds: what was said last.
    last: Option<String>,
    lines: VecDeque<String>,
    dropped: u64,
}

/// A panic elsewhere takes nothing from what is kept here.
fn keeper() -> MutexGuard<'static, Keeper> {
    KEEPER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says something.
pub(crate) fn say(line: &str) {
    let mut keeper = keeper();
    if keeper.holds {
        keeper.last = Some(line.to_owned());
    }
    // Where it goes to a file, it tears no screen.
    if keeper.holds && io::stderr().is_terminal() {
        keeper.keep(line);
    } else {
        // Nobody is left to be told that it failed.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// From now on, lines are kept.
pub(crate) fn hold() {
    keeper().holds = true;
}

/// What was said last while lines are kept.
pub(crate) fn last() -> Option<String> {
    keeper().last.clone()
}

/// Says what was kept. From now on, lines go to standard error again.
pub(crate) fn release() {
    let mut keeper = keeper();
    keeper.holds = false;
    keeper.last = None;
    let dropped = mem::take(&mut keeper.dropped);
    let mut text = String::new();
    if dropped > 0 {
        text = format!("vault-tracer: {dropped} earlier messages are left out\n");
    }
    for line in keeper.lines.drain(..) {
        text.push_str(&line);
        text.push('\n');
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

impl Keeper {
    fn keep(&mut self, line: &str) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line.to_owned());
    }
}

/// For a logger: a write is a line, or several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(text).lines() {
            say(line);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
