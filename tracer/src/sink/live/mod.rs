//! The live view: how things stand, on the whole terminal, and keys to look closer.
//!
//! It takes the terminal with the first finding, so that what fails before is said in plain lines, and gives it back
//! whatever ends the program. A key ends the trace by a flag that the command looks at, since a terminal in raw mode sends no
//! signal.

mod answer;
mod detail;
pub mod draw;
mod keys;
pub mod model;
mod report;
mod screen;
mod tables;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ratatui::crossterm::event::{self, Event as Input};

pub use self::screen::{is_possible, restore_at_end};
use self::{
    draw::{Palette, draw},
    model::Model,
    report::Report,
    screen::Screen,
};
use super::{Sink, terminal::is_coloured};
use crate::console;
use tracer_model::Finding;

/// Between two pictures, if no key wants one sooner.
const REDRAW: Duration = Duration::from_millis(100);

/// How soon the end is noticed by who waits for a key.
const KEYS: Duration = Duration::from_millis(200);

/// Whether the operator has left the view.
#[derive(Clone, Debug, Default)]
pub struct Left(Arc<AtomicBool>);

impl Left {
    /// Whether that is so.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The sink.
pub struct Live {
    shared: Arc<Shared>,
    report: Option<Report>,
    keys: Option<JoinHandle<()>>,
}

/// Between the sink's thread and the one that waits for keys.
struct Shared {
    view: Mutex<View>,
    left: Left,
    is_over: AtomicBool,
}

struct View {
    model: Model,
    screen: Option<Screen>,
    palette: Palette,
    drawn: Option<Instant>,
}

impl Live {
    /// Nothing is shown yet. `left` tells when the operator has had enough.
    pub fn new(left: Left) -> Self {
        let view = View {
            model: Model::default(),
            screen: None,
            palette: Palette {
                coloured: is_coloured(),
            },
            drawn: None,
        };
        Self {
            shared: Arc::new(Shared {
                view: Mutex::new(view),
                left,
                is_over: AtomicBool::new(false),
            }),
            report: Some(Report::new()),
            keys: None,
        }
    }

    fn begin(&mut self, view: &mut View) -> io::Result<()> {
        view.screen = Some(screen::take()?);
        let shared = Arc::clone(&self.shared);
        self.keys = Some(thread::spawn(move || shared.wait_for_keys()));
        Ok(())
    }
}

impl Sink<Finding> for Live {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut view = shared.view();
        if view.screen.is_none() {
            self.begin(&mut view)?;
        }
        view.model.take(finding);
        if let Some(report) = &mut self.report {
            report.take(finding);
        }
        let is_due = view.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if is_due { view.draw() } else { Ok(()) }
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

/// The screen is left, and the report stays.
impl Drop for Live {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if thread::panicking() {
            // Nobody sees any more what goes on.
            self.shared.left.0.store(true, Ordering::Relaxed);
        }
        if let Some(keys) = self.keys.take() {
            // Had it panicked, the hook has said so.
            let _ = keys.join();
        }
        screen::restore();
        if let Some(report) = mem::take(&mut self.report) {
            // A closed terminal is no failure: nobody reads it any more.
            let _ = io::stdout().write_all(report.text().as_bytes());
            let _ = io::stdout().flush();
        }
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_keys(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let input = match event::poll(KEYS) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            let drawn = match input {
                Ok(input) => self.takes(&input),
                Err(error) => Err(error),
            };
            if drawn.is_err() {
                // There is no terminal any more: nobody can ask for the end.
                self.left.0.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    fn takes(&self, input: &Input) -> io::Result<()> {
        let mut view = self.view();
        match input {
            Input::Key(key) if keys::press(&mut view.model, *key) => {
                self.left.0.store(true, Ordering::Relaxed);
                Ok(())
            }
            Input::Key(_) | Input::Resize(..) => view.draw(),
            _ => Ok(()),
        }
    }
}

impl View {
    /// Nothing, where the screen has been given back.
    fn draw(&mut self) -> io::Result<()> {
        let Some(screen) = self.screen.as_mut().filter(|_| screen::is_taken()) else {
            return Ok(());
        };
        self.model.note(console::last());
        let (model, palette) = (&self.model, self.palette);
        let drawn = screen.draw(|frame| draw(frame, model, palette));
        self.drawn = Some(Instant::now());
        // A terminal that is gone has no reader any more.
        drawn
            .map(drop)
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))
    }
}
