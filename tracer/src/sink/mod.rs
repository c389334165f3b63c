//! The outputs. Each sink writes on a thread of its own behind a bounded queue: a terminal that was stopped with Ctrl-S
//! or a slow disk delays nothing but itself, and the items that it misses are counted and reported.

pub mod flight_recorder;
pub mod jsonl;
pub mod line_file;
pub mod metrics;
pub mod otlp;
mod outage;
pub mod perfetto;
pub mod recording;
mod stream;
pub mod terminal;
pub mod trace_file;
pub mod trace_format;
pub mod tui;

pub mod wall {
    //! The clock of a trace.
    pub use tracer_format::WallClock;
}

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::console;

/// Items that may wait for a sink. A hang takes seconds to happen; recorded events come in thousands.
const QUEUE: usize = 1 << 16;

/// Time between two attempts of a sink that failed, for example on a full disk.
const RETRY: Duration = Duration::from_millis(500);

/// How long the end of a trace waits for a sink that is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes items somewhere.
pub trait Sink<T>: Send + 'static {
    /// Writes one item whole, or nothing of it.
    fn write(&mut self, item: &T) -> io::Result<()>;

    /// Opens its file again where that was renamed.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Writes what it has buffered: nothing more comes for now, or at all.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The same at the end of the trace. May take as long as [`PATIENCE`].
    fn finish(&mut self) -> io::Result<()> {
        self.settle()
    }

    /// Items that are buffered and not written.
    fn unsettled(&self) -> u64 {
        0
    }

    /// What an item is called in error messages.
    fn unit(&self) -> &'static str {
        "records"
    }

    /// What it writes to, for error messages.
    fn name(&self) -> String;

    /// The kind of output, as a label of metrics: names may be paths, and there are too many.
    fn kind(&self) -> &'static str;
}

/// A sink at work on its own thread.
pub struct Worker<T> {
    name: String,
    unit: &'static str,
    kind: &'static str,
    queue: Option<SyncSender<Order<T>>>,
    done: Receiver<Result<(), Failure>>,
    missed: Arc<AtomicU64>,
}

/// What a sink is to do.
enum Order<T> {
    Write(Arc<T>),
    Reopen,
}

/// Why a sink could not write everything.
#[derive(Debug)]
struct Failure {
    error: io::Error,
    unwritten: u64,
}

impl<T: Send + Sync + 'static> Worker<T> {
    /// Starts the thread.
    pub fn spawn(sink: impl Sink<T>) -> Self {
        let (name, unit, kind) = (sink.name(), sink.unit(), sink.kind());
        let (queue, orders) = mpsc::sync_channel(QUEUE);
        let (report, done) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let _ = report.send(work(sink, &orders));
        });
        Self {
            name,
            unit,
            kind,
            queue: Some(queue),
            done,
            missed: Arc::default(),
        }
    }

    /// Queues an item; counts it as missed if the queue is full.
    pub fn send(&mut self, item: &Arc<T>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_)) = queue.try_send(Order::Write(Arc::clone(item))) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the file opened again where it was renamed, after what was queued until now.
    pub fn reopen(&mut self) {
        if let Some(queue) = &self.queue {
            // Where the queue is full, the file is one that cannot be written.
            let _ = queue.try_send(Order::Reopen);
        }
    }

    /// The kind of output.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The count of items for which the queue was full.
    pub fn missed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.missed)
    }

    /// Whether its reader closed the pipe.
    pub fn is_over(&mut self) -> bool {
        match self.done.try_recv() {
            Ok(Ok(())) => {
                self.queue = None;
                true
            }
            _ => self.queue.is_none(),
        }
    }

    /// Ends all threads; fails if something could not be written. All share one [`PATIENCE`].
    pub fn finish_all(workers: impl IntoIterator<Item = Self>) -> Result<()> {
        let mut open: Vec<_> = workers.into_iter().collect();
        open.retain_mut(|worker| worker.queue.take().is_some());
        let deadline = Instant::now() + PATIENCE;
        together(open.into_iter().map(|worker| worker.ended(deadline)))
    }

    /// Ends one thread.
    pub fn finish(self) -> Result<()> {
        Self::finish_all([self])
    }

    fn ended(&self, deadline: Instant) -> Result<()> {
        let Self { name, unit, .. } = self;
        let left = deadline.saturating_duration_since(Instant::now());
        match self.done.recv_timeout(left) {
            Ok(Ok(())) => {}
            Ok(Err(Failure {
                error,
                unwritten: 0,
            })) => bail!("{name}: {error}"),
            Ok(Err(Failure { error, unwritten })) => {
                bail!("{unwritten} {unit} could not be written to {name}: {error}")
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("writing to {name} timed out; the remaining {unit} were dropped")
            }
            Err(RecvTimeoutError::Disconnected) => bail!("writing to {name} failed"),
        }
        let missed = self.missed.load(Ordering::Relaxed);
        if missed > 0 {
            bail!("{name} was too slow: {missed} {unit} were dropped");
        }
        Ok(())
    }
}

/// Joins the errors into one line.
pub fn together(ends: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let failed = ends.into_iter().filter_map(Result::err);
    let failed: Vec<_> = failed.map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), failed.join("; "));
    Ok(())
}

/// Writes until the queue is closed. Items that cannot be written, and a file that cannot be opened again, are tried again.
fn work<T>(mut sink: impl Sink<T>, orders: &Receiver<Order<T>>) -> Result<(), Failure> {
    let mut waiting: Vec<Arc<T>> = Vec::new();
    let mut has_to_reopen = false;
    let mut is_reported = false;
    let mut lost = 0;
    loop {
        let mut written = match orders.recv_timeout(RETRY) {
            Ok(Order::Write(item)) => {
                waiting.push(item);
                flush(&mut sink, &mut waiting)
            }
            Ok(Order::Reopen) => {
                has_to_reopen = true;
                flush(&mut sink, &mut waiting)
            }
            Err(RecvTimeoutError::Timeout) => {
                flush(&mut sink, &mut waiting).and_then(|()| sink.settle())
            }
            Err(RecvTimeoutError::Disconnected) => return last_try(&mut sink, waiting, lost),
        };
        if has_to_reopen {
            let reopened = sink.reopen();
            has_to_reopen = reopened.is_err();
            written = reopened.and(written);
        }
        match written {
            Ok(()) => is_reported = false,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => {
                if !is_reported {
                    console::print(&format!(
                        "vault-tracer: cannot write to {}: {error}; retrying",
                        sink.name()
                    ));
                }
                is_reported = true;
                lost += waiting.len().saturating_sub(QUEUE) as u64;
                waiting.truncate(QUEUE);
            }
        }
    }
}

fn flush<T>(sink: &mut impl Sink<T>, waiting: &mut Vec<Arc<T>>) -> io::Result<()> {
    let mut written = 0;
    let result = waiting.iter().try_for_each(|item| {
        sink.write(item)?;
        written += 1;
        Ok(())
    });
    waiting.drain(..written);
    result
}

fn last_try<T>(
    sink: &mut impl Sink<T>,
    mut waiting: Vec<Arc<T>>,
    lost: u64,
) -> Result<(), Failure> {
    let error = match flush(sink, &mut waiting).and_then(|()| sink.finish()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(error) => error,
        Ok(()) if lost == 0 => return Ok(()),
        Ok(()) => io::Error::other("it could not be written to for too long"),
    };
    Err(Failure {
        error,
        unwritten: lost + waiting.len() as u64 + sink.unsettled(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(&'static str);

    impl Sink<u8> for Broken {
        fn write(&mut self, _: &u8) -> io::Result<()> {
            Err(io::Error::other("it is broken"))
        }

        fn name(&self) -> String {
            self.0.to_owned()
        }

        fn kind(&self) -> &'static str {
            "broken"
        }
    }

    #[test]
    fn failures_are_reported_in_one_line() {
        let mut workers = ["this", "that"].map(|name| Worker::spawn(Broken(name)));
        for worker in &mut workers {
            worker.send(&Arc::new(1));
        }
        let error = Worker::finish_all(workers).expect_err("broken").to_string();
        assert_eq!(
            error,
            "1 records could not be written to this: it is broken; 1 records could not be written to that: it is broken"
        );
    }

    /// Cannot be opened again the first time; says each attempt.
    struct Moved(mpsc::Sender<()>, bool);

    impl Sink<u8> for Moved {
        fn write(&mut self, _: &u8) -> io::Result<()> {
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            let _ = self.0.send(());
            let is_first = !std::mem::replace(&mut self.1, true);
            if is_first {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Ok(())
        }

        fn name(&self) -> String {
            "moved".to_owned()
        }

        fn kind(&self) -> &'static str {
            "moved"
        }
    }

    #[test]
    fn a_file_is_opened_again_until_it_can_be_and_not_more_often() {
        let (attempt, attempts) = mpsc::channel();
        let mut worker = Worker::spawn(Moved(attempt, false));
        worker.reopen();
        let limit = Duration::from_mins(1);
        assert_eq!(attempts.recv_timeout(limit), Ok(()));
        // No item and no other signal comes.
        assert_eq!(attempts.recv_timeout(limit), Ok(()));
        worker.send(&Arc::new(1));
        worker.finish().expect("written");
        assert_eq!(attempts.iter().count(), 0);
    }
}
