//! The terminal as a screen: taken, and given back as it was, whatever ends the program, `kill -9` excepted.

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

/// What is drawn on. Not [`io::stdout`], whose lock a thread that is stuck in a write would keep.
pub(super) type Screen = Terminal<CrosstermBackend<File>>;

/// Whether the terminal is taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

static HOOK: Once = Once::new();

/// How long the end of the program waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether there is a terminal on which a screen can be drawn, and keys be read from.
pub fn is_possible() -> bool {
    let is_smart = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    is_smart && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Takes it.
pub(super) fn take() -> io::Result<Screen> {
    HOOK.call_once(restore_at_panic);
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    console::hold();
    let taken = execute!(&out, EnterAlternateScreen, Hide)
        .and_then(|()| Terminal::new(CrosstermBackend::new(out)));
    if taken.is_err() {
        restore();
    }
    taken
}

/// Whether it is taken.
pub(super) fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Gives it back, if it is taken, and says what was kept meanwhile.
pub(super) fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Nothing more can be done for a terminal that takes nothing.
    if let Ok(out) = io::stdout().as_fd().try_clone_to_owned() {
        let mut out = File::from(out);
        let _ = execute!(out, LeaveAlternateScreen, Show);
        let _ = out.flush();
    }
    let _ = disable_raw_mode();
    console::release();
}

/// The same at the end of the program, which waits for nobody.
pub fn restore_at_end() {
    if !is_taken() {
        return;
    }
    let (restored, done) = mpsc::sync_channel(1);
    thread::spawn(move || {
        restore();
        let _ = restored.send(());
    });
    let _ = done.recv_timeout(PATIENCE);
}

/// What a panic says is to be read.
fn restore_at_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        restore();
        before(panicked);
    }));
}
