//! A program on a pseudo-terminal: its screen, and the terminal's settings after it.

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

/// Time limit of a wait. What is waited for takes milliseconds, on busy machines seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two checks of the screen.
const POLL: Duration = Duration::from_millis(10);

/// The screen, and all bytes that were written to it.
struct Output {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

/// A terminal with a program on it.
pub struct OnTerminal {
    child: Child,
    pty: Arc<Pty>,
    /// Kept open to read the settings of the terminal.
    pts: Pts,
    before: Termios,
    output: Arc<Mutex<Output>>,
}

impl OnTerminal {
    /// Runs the program there.
    pub fn start(mut command: Command, (rows, columns): (u16, u16)) -> Result<Self> {
        let (pty, pts) = pty_process::blocking::open()?;
        pty.resize(Size::new(rows, columns))?;
        let before = tcgetattr(pts.as_fd())?;
        let child = command.spawn_borrowed(&pts)?;
        let output = Arc::new(Mutex::new(Output {
            parser: vt100::Parser::new(rows, columns, 1000),
            raw: Vec::new(),
        }));
        let pty = Arc::new(pty);
        let (from, into) = (Arc::clone(&pty), Arc::clone(&output));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = (&*from).read(&mut bytes) {
                let mut output = into.lock().unwrap_or_else(PoisonError::into_inner);
                output.parser.process(&bytes[..count]);
                output.raw.extend(&bytes[..count]);
            }
        });
        Ok(Self {
            child,
            pty,
            pts,
            before,
            output,
        })
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text of the screen.
    pub fn screen(&self) -> String {
        self.output().parser.screen().contents()
    }

    /// All bytes that were written to it.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.output().raw).into_owned()
    }

    /// Types.
    pub fn types(&self, keys: &str) -> Result<()> {
        (&*self.pty).write_all(keys.as_bytes())?;
        Ok(())
    }

    /// Changes its size.
    pub fn resize(&self, (rows, columns): (u16, u16)) -> Result<()> {
        self.output().parser.screen_mut().set_size(rows, columns);
        self.pty.resize(Size::new(rows, columns))?;
        Ok(())
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        Ok(())
    }

    /// Waits until the screen fulfils the condition.
    pub fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return Ok(screen);
            }
            if begun.elapsed() > TIMEOUT {
                bail!("{what}: not seen; the screen is\n{screen}");
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until the screen contains the text.
    pub fn shows(&self, text: &str) -> Result<String> {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits until the program has ended and all its output is on the screen.
    pub fn ends(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().context("the program")? {
                break status;
            }
            ensure!(
                begun.elapsed() < TIMEOUT,
                "it does not end; the screen is\n{}",
                self.screen()
            );
            thread::sleep(POLL);
        };
        // Its last output may not be read yet.
        let end = "\r\nend of the program\r\n";
        File::from(self.pts.as_fd().try_clone_to_owned()?).write_all(end.as_bytes())?;
        self.until("the end", |_| self.raw().contains("end of the program"))?;
        Ok(status)
    }

    /// An error unless the terminal has the settings from before the program.
    pub fn is_restored(&self) -> Result<()> {
        let output = self.output();
        let screen = output.parser.screen();
        ensure!(!screen.alternate_screen(), "the alternate screen is left");
        ensure!(!screen.hide_cursor(), "the cursor is shown");
        let now = tcgetattr(self.pts.as_fd())?;
        ensure!(now == self.before, "{now:?} was {:?}", self.before);
        Ok(())
    }

    /// An error unless the program has taken over the screen.
    pub fn is_taken(&self) -> Result<()> {
        let now = tcgetattr(self.pts.as_fd())?;
        ensure!(now != self.before, "the terminal is in raw mode");
        ensure!(self.output().parser.screen().alternate_screen());
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
