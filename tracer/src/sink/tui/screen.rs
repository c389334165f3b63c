//! Takes over the terminal for the full-screen view, and restores it however the program ends, `kill -9` excepted.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use crate::console;

/// Draws to a duplicate of standard output: a thread stuck in a write would keep the lock of [`io::stdout`].
pub(super) type Screen = Terminal<CrosstermBackend<File>>;

static TAKEN: AtomicBool = AtomicBool::new(false);

static HOOK: Once = Once::new();

/// How long the end of the program waits for a terminal that blocks.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether there is a terminal that can be drawn on and read keys from.
pub fn is_possible() -> bool {
    let is_smart = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    is_smart && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Switches to raw mode and the alternate screen.
pub(super) fn take() -> io::Result<Screen> {
    HOOK.call_once(restore_at_panic);
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    console::start_buffering();
    let taken = execute!(&out, EnterAlternateScreen, Hide)
        .and_then(|()| Terminal::new(CrosstermBackend::new(out)));
    if taken.is_err() {
        restore();
    }
    taken
}

pub(super) fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Restores the terminal if it is taken, and prints the lines that were buffered meanwhile.
pub(super) fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Nothing can be done about a terminal that fails.
    if let Ok(out) = io::stdout().as_fd().try_clone_to_owned() {
        let mut out = File::from(out);
        let _ = execute!(out, LeaveAlternateScreen, Show);
        let _ = out.flush();
    }
    let _ = disable_raw_mode();
    console::stop_buffering();
}

/// [`restore`] with a time limit, for the end of the program.
pub fn restore_at_end() {
    if !is_taken() {
        return;
    }
    let (restored, done) = mpsc::sync_channel(1);
    thread::spawn(move || {
        restore();
        let _ = restored.send(());
    });
    let _ = done.recv_timeout(RESTORE_TIMEOUT);
}

/// Restores the terminal before a panic is printed.
fn restore_at_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        restore();
        before(panicked);
    }));
}
