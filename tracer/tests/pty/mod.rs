//! A program on a terminal of its own: what stands on its screen, and how it leaves it.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::{
        signal::{Signal, kill},
        termios::{Termios, tcgetattr},
    },
    unistd::Pid,
};
use pty_process::{
    Size,
    blocking::{Command, Pts, Pty},
};

/// What is waited for takes milliseconds; two busy cores may make seconds of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at the screen.
const LOOK: Duration = Duration::from_millis(10);

/// The screen, and all that was written to it.
struct Seen {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

/// A terminal with a program on it.
pub(crate) struct OnTerminal {
    child: Child,
    pty: Arc<Pty>,
    /// Open for as long as it is asked for its settings.
    pts: Pts,
    before: Termios,
    seen: Arc<Mutex<Seen>>,
}

impl OnTerminal {
    /// Runs the program there.
    pub(crate) fn start(mut command: Command, (rows, columns): (u16, u16)) -> Result<Self> {
        let (pty, pts) = pty_process::blocking::open()?;
        pty.resize(Size::new(rows, columns))?;
        let before = tcgetattr(pts.as_fd())?;
        let child = command.spawn_borrowed(&pts)?;
        let seen = Arc::new(Mutex::new(Seen {
            parser: vt100::Parser::new(rows, columns, 1000),
            raw: Vec::new(),
        }));
        let pty = Arc::new(pty);
        let (from, into) = (Arc::clone(&pty), Arc::clone(&seen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = (&*from).read(&mut bytes) {
                let mut seen = into.lock().unwrap_or_else(PoisonError::into_inner);
                seen.parser.process(&bytes[..count]);
                seen.raw.extend(&bytes[..count]);
            }
        });
        Ok(Self {
            child,
            pty,
            pts,
            before,
            seen,
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands on the screen now.
    pub(crate) fn screen(&self) -> String {
        self.seen().parser.screen().contents()
    }

    /// All that was written to it.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen().raw).into_owned()
    }

    /// Types.
    pub(crate) fn types(&self, keys: &str) -> Result<()> {
        (&*self.pty).write_all(keys.as_bytes())?;
        Ok(())
    }

    /// Makes it larger or smaller, as who drags its window does.
    #[allow(dead_code, reason = "not every test does")]
    pub(crate) fn resize(&self, (rows, columns): (u16, u16)) -> Result<()> {
        self.seen().parser.screen_mut().set_size(rows, columns);
        self.pty.resize(Size::new(rows, columns))?;
        Ok(())
    }

    #[allow(dead_code, reason = "not every test does")]
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        Ok(())
    }

    /// Waits until the screen is like this.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return Ok(screen);
            }
            if begun.elapsed() > PATIENCE {
                bail!("{what}: not seen; the screen is\n{screen}");
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until it stands on the screen.
    pub(crate) fn shows(&self, text: &str) -> Result<String> {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits until the program has ended, and all it wrote is on the screen.
    pub(crate) fn ends(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().context("the program")? {
                break status;
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "it does not end; the screen is\n{}",
                self.screen()
            );
            thread::sleep(LOOK);
        };
        // What it wrote last is on its way.
        let end = "\r\nend of the program\r\n";
        File::from(self.pts.as_fd().try_clone_to_owned()?).write_all(end.as_bytes())?;
        self.until("the end", |_| self.raw().contains("end of the program"))?;
        Ok(status)
    }

    /// Whether the terminal is as it was before the program, which has ended.
    pub(crate) fn is_restored(&self) -> Result<()> {
        let seen = self.seen();
        let screen = seen.parser.screen();
        ensure!(!screen.alternate_screen(), "the alternate screen is left");
        ensure!(!screen.hide_cursor(), "the cursor is shown");
        let now = tcgetattr(self.pts.as_fd())?;
        ensure!(now == self.before, "{now:?} was {:?}", self.before);
        Ok(())
    }

    /// Whether a program has the screen for itself.
    pub(crate) fn is_taken(&self) -> Result<()> {
        let now = tcgetattr(self.pts.as_fd())?;
        ensure!(now != self.before, "the terminal is in raw mode");
        ensure!(self.seen().parser.screen().alternate_screen());
        Ok(())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Nothing where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
