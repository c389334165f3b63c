//! The live view: a full-screen terminal interface that shows the state of the server.
//!
//! It takes over the terminal with the first finding, so that errors before are printed as plain lines, and restores it
//! however the program ends. A terminal in raw mode sends no SIGINT: keys that end the trace set a [`QuitFlag`], which
//! the command polls.

mod detail;
pub mod draw;
mod headline;
mod keys;
pub mod model;
mod report;
mod screen;
mod style;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ratatui::crossterm::event::{self, Event as Input};

use self::{draw::draw, model::Model, report::ReportPane, screen::Screen};
pub use self::{
    screen::{is_possible, restore_at_end},
    style::Palette,
};
use super::{Sink, terminal::is_coloured};
use crate::console;
use tracer_model::Finding;

/// Least time between two frames, unless a key is pressed.
const FRAME_TIME: Duration = Duration::from_millis(100);

/// How soon the thread that waits for keys notices the end.
const KEY_POLL: Duration = Duration::from_millis(200);

/// Set when the operator quits the view.
#[derive(Clone, Debug, Default)]
pub struct QuitFlag(Arc<AtomicBool>);

impl QuitFlag {
    /// Whether the operator has quit.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The sink.
pub struct Tui {
    shared: Arc<Shared>,
    report: ReportPane,
    key_thread: Option<JoinHandle<()>>,
}

/// Shared by the sink's thread and the one that waits for keys.
struct Shared {
    view: Mutex<View>,
    quit: QuitFlag,
    has_ended: AtomicBool,
}

struct View {
    model: Model,
    screen: Option<Screen>,
    palette: Palette,
    last_frame: Option<Instant>,
}

impl Tui {
    /// Shows nothing yet.
    pub fn new(quit: QuitFlag) -> Self {
        let view = View {
            model: Model::default(),
            screen: None,
            palette: Palette {
                coloured: is_coloured(),
            },
            last_frame: None,
        };
        Self {
            shared: Arc::new(Shared {
                view: Mutex::new(view),
                quit,
                has_ended: AtomicBool::new(false),
            }),
            report: ReportPane::new(),
            key_thread: None,
        }
    }
}

impl Sink<Finding> for Tui {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let mut view = self.shared.view();
        if view.screen.is_none() {
            view.screen = Some(screen::take()?);
            let shared = Arc::clone(&self.shared);
            self.key_thread = Some(thread::spawn(move || shared.handle_keys()));
        }
        view.model.apply(finding);
        self.report.add(finding);
        let last_frame = view.last_frame;
        if last_frame.is_none_or(|last| last.elapsed() >= FRAME_TIME) {
            view.draw()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.shared.view().draw()
    }

    fn name(&self) -> String {
        "the terminal".to_owned()
    }

    fn kind(&self) -> &'static str {
        "live"
    }
}

/// Leaves the screen and prints the report.
impl Drop for Tui {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        if thread::panicking() {
            // The operator cannot see the trace any more.
            self.shared.quit.set();
        }
        if let Some(keys) = self.key_thread.take() {
            // Had it panicked, the hook has printed that.
            let _ = keys.join();
        }
        screen::restore();
        // A closed terminal is no failure: nobody reads it any more.
        let _ = io::stdout().write_all(self.report.text().as_bytes());
        let _ = io::stdout().flush();
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_keys(&self) {
        while !self.has_ended.load(Ordering::Relaxed) {
            let handled = match event::poll(KEY_POLL) {
                Ok(false) => continue,
                Ok(true) => event::read().and_then(|input| self.handle(&input)),
                Err(error) => Err(error),
            };
            if handled.is_err() {
                // Without a terminal nobody can quit by a key.
                self.quit.set();
                return;
            }
        }
    }

    fn handle(&self, input: &Input) -> io::Result<()> {
        let mut view = self.view();
        match input {
            Input::Key(key) if keys::press(&mut view.model, *key) => {
                self.quit.set();
                Ok(())
            }
            Input::Key(_) | Input::Resize(..) => view.draw(),
            _ => Ok(()),
        }
    }
}

impl View {
    /// Does nothing after the terminal was restored.
    fn draw(&mut self) -> io::Result<()> {
        let Some(screen) = self.screen.as_mut().filter(|_| screen::is_taken()) else {
            return Ok(());
        };
        if let Some(line) = console::last_line() {
            self.model.show_message(line);
        }
        let (model, palette) = (&self.model, self.palette);
        let drawn = screen.draw(|frame| draw(frame, model, palette));
        self.last_frame = Some(Instant::now());
        // A terminal that is gone has no reader any more.
        drawn
            .map(drop)
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))
    }
}
