//! A log server that does what a test says: reads, stops reading, reads slowly, resets, goes away.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use tokio::sync::watch;

use crate::audit::{self, Endpoint};
use crate::netns::Namespace;
use crate::wait;

mod listener;
mod serve;
mod state;

pub use state::Received;
use state::{Mode, Shared, State};

/// Until the server's thread has had a processor.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// A log server in threads of this process. Stopped when dropped.
#[derive(Debug)]
pub struct LogServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How it listens.
#[derive(Debug, Clone)]
pub struct Options {
    endpoint: Endpoint,
    backlog: u32,
    receive_buffer: Option<u32>,
    mode: Mode,
}

impl Options {
    /// A server at `endpoint` that reads.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            backlog: 128,
            receive_buffer: None,
            mode: Mode::Read,
        }
    }

    /// How many connections the kernel accepts on its own.
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// A small receive buffer fills, and closes the window, sooner.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Starts without accepting or reading anything.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.mode = Mode::Pause;
        self
    }

    /// Starts it in `namespace`; it listens when this returns.
    pub fn start(&self, namespace: &Namespace) -> Result<LogServer> {
        let namespace = namespace.clone();
        self.start_after(move || namespace.enter())
    }

    /// Starts it where the process is.
    pub fn start_here(&self) -> Result<LogServer> {
        self.start_after(|| Ok(()))
    }

    fn start_after(
        &self,
        enter: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<LogServer> {
        let state = State {
            mode: self.mode,
            era: 0,
            accepted_in: None,
            connections: Vec::new(),
            total: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        });
        let (options, serving) = (self.clone(), shared.clone());
        let (listening, outcome) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _ =
                listening.send(enter().and_then(|()| serve::run(&options, &serving, &listening)));
        });
        let server = LogServer {
            shared,
            thread: Some(thread),
        };
        outcome
            .recv()
            .map_err(|_| anyhow!("the log server's thread ended"))??;
        Ok(server)
    }
}

impl LogServer {
    /// A server at `endpoint` that reads.
    pub fn start(namespace: &Namespace, endpoint: Endpoint) -> Result<Self> {
        Options::new(endpoint).start(namespace)
    }

    /// Stop accepting and reading, as a process that was stopped does: its kernel still does both, until its buffers are full.
    pub fn pause(&self) {
        self.shared.change(|state| state.mode = Mode::Pause);
    }

    /// Read again, as fast as it comes.
    pub fn resume(&self) {
        self.shared.change(|state| state.mode = Mode::Read);
    }

    /// Read so many bytes a second from each connection, and no more.
    pub fn throttle(&self, bytes_per_second: usize) {
        self.shared
            .change(|state| state.mode = Mode::Throttle(bytes_per_second));
    }

    /// Resets the connections there are, before it returns; new ones are welcome.
    pub fn reset_connections(&self) -> Result<()> {
        self.shared.change(|state| state.era += 1);
        let closed = || Ok(self.shared.lock().is_reset().then_some(()));
        wait::until(
            "the log server to reset its connections",
            CLOSE_LIMIT,
            closed,
        )
    }

    /// Closes listener and connections: from now on the host answers with RST. One that reads has read what arrived
    /// before: the connection ends with a FIN, and whoever writes meets the RST with the entry after.
    pub fn stop(&mut self) {
        if self.shared.lock().mode == Mode::Read {
            self.shared.change(|state| state.mode = Mode::Drain);
            let ended = || Ok(self.shared.lock().is_over().then_some(()));
            if let Err(error) = wait::to_the_end("the log server to drain", CLOSE_LIMIT, ended) {
                eprintln!("lab: {error:#}");
            }
        }
        self.shared.change(|state| state.mode = Mode::Stop);
        if let Some(thread) = self.thread.take() {
            thread
                .join()
                .unwrap_or_else(|_| eprintln!("lab: the log server panicked"));
        }
    }

    /// What each connection brought, in the order they were accepted.
    pub fn connections(&self) -> Vec<Received> {
        self.shared.lock().connections.clone()
    }

    /// The lines that arrived whole, of all connections.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.shared
            .lock()
            .connections
            .iter()
            .flat_map(|received| received.lines().map(<[u8]>::to_vec))
            .collect()
    }

    /// The request ids of the audit entries that arrived whole: one for the request, one for its response.
    pub fn request_ids(&self) -> Vec<String> {
        let lines = self.lines();
        lines
            .iter()
            .filter_map(|line| audit::request_id(line))
            .collect()
    }

    /// How many bytes arrived.
    pub fn received_bytes(&self) -> usize {
        self.shared.lock().total
    }

    /// Waits in the foreground for as long as the process lives.
    pub fn serve(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves `endpoint` in the foreground until the process is killed.
pub fn serve(endpoint: Endpoint) -> Result<()> {
    Options::new(endpoint).start_here()?.serve();
    bail!("the log server ended")
}
