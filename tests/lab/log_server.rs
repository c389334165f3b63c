//! A log server that does what a test says: reads, stops reading, reads slowly, resets, goes away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::runtime;
use tokio::sync::watch;

use crate::audit::{self, Endpoint};
use crate::netns::Namespace;
use crate::wait;

mod listener;

use listener::{Listener, Stream};

/// What is kept of the received bytes; the rest is counted only.
const KEEP: usize = 64 << 20;
/// Until the server's thread has had a processor.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// A throttled server reads this often.
const TICK: Duration = Duration::from_millis(50);

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

/// One connection that was accepted (or, over UDP, the socket itself).
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Everything read, in order, up to a limit of 64 MiB for all connections together.
    pub bytes: Vec<u8>,
    /// Whether the connection has ended.
    pub ended: bool,
    /// Up to which era it may live; datagrams have no connection that could be reset.
    era: Option<u32>,
}

impl Received {
    /// The lines that arrived whole.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes
            .split_inclusive(|&byte| byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Pause,
    Throttle(usize),
    /// Reads what there is, and closes.
    Drain,
    Stop,
}

/// What the user of the server and its tasks share. Reads happen under the lock: after `pause()`
/// has returned, not one more byte is taken from a socket.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Connections of an earlier era are to be reset.
    era: u32,
    connections: Vec<Received>,
    total: usize,
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
            let _ = listening.send(enter().and_then(|()| run(&options, &serving, &listening)));
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_replace(());
    }
}

/// What a task does next.
enum Next {
    Continue,
    Wait,
    Rest,
    End,
}

fn run(
    options: &Options,
    shared: &Arc<Shared>,
    listening: &mpsc::Sender<Result<()>>,
) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let opened = Listener::open(&options.endpoint, options.backlog, options.receive_buffer);
        let listener = opened.with_context(|| format!("cannot listen on {}", options.endpoint))?;
        let _ = listening.send(Ok(()));
        match listener {
            Listener::Datagrams(socket) => read(shared, Stream::Udp(socket), 0).await,
            listener => accept(shared, &listener).await,
        }
        Ok(())
    })
    // The runtime ends here, and with it every connection still open.
}

async fn accept(shared: &Arc<Shared>, listener: &Listener) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let (mode, era) = {
            let state = shared.lock();
            (state.mode, state.era)
        };
        if mode == Mode::Stop {
            return;
        }
        tokio::select! {
            _ = changed.changed() => {}
            Ok(stream) = listener.accept(), if !matches!(mode, Mode::Pause | Mode::Drain) => {
                let shared = shared.clone();
                tokio::spawn(async move { read(&shared, stream, era).await });
            }
        }
    }
}

async fn read(shared: &Shared, stream: Stream, era: u32) {
    let mut changed = shared.changed.subscribe();
    let era = stream.is_connection().then_some(era);
    let index = shared.lock().open(era);
    loop {
        changed.mark_unchanged();
        let next = shared.lock().read(index, &stream); // the lock is not held over what follows
        match next {
            Next::Continue => tokio::task::yield_now().await,
            Next::Wait => {
                tokio::select! { _ = changed.changed() => {}, _ = stream.readable() => {} }
            }
            Next::Rest => {
                tokio::select! { _ = changed.changed() => {}, () = tokio::time::sleep(TICK) => {} }
            }
            Next::End => break,
        }
    }
    drop(stream);
    shared.lock().connections[index].ended = true;
}

impl State {
    fn open(&mut self, era: Option<u32>) -> usize {
        self.connections.push(Received {
            era,
            ..Received::default()
        });
        self.connections.len() - 1
    }

    /// Whether no connection is open.
    fn is_over(&self) -> bool {
        self.connections.iter().all(|one| one.ended)
    }

    /// Whether the connections of earlier eras are all closed.
    fn is_reset(&self) -> bool {
        let outdated = |era: u32| era != self.era;
        let mut open = self.connections.iter().filter(|one| !one.ended);
        !open.any(|one| one.era.is_some_and(outdated))
    }

    /// Takes what the mode allows from the stream.
    fn read(&mut self, index: usize, stream: &Stream) -> Next {
        let era = self.connections[index].era;
        if era.is_some_and(|era| era != self.era) {
            stream.reset_on_close();
            return Next::End;
        }
        match self.mode {
            Mode::Stop => Next::End,
            Mode::Pause => Next::Rest,
            Mode::Read => self.take(index, stream, 64 << 10),
            Mode::Drain => match self.take(index, stream, 64 << 10) {
                Next::Wait => Next::End,
                next => next,
            },
            Mode::Throttle(rate) => match self.take(index, stream, (rate / 20).max(1)) {
                Next::Continue => Next::Rest,
                next => next,
            },
        }
    }

    fn take(&mut self, index: usize, stream: &Stream, limit: usize) -> Next {
        let mut buffer = vec![0; limit.min(64 << 10)];
        match stream.try_read(&mut buffer) {
            Ok(0) if stream.is_connection() => Next::End,
            Ok(count) => {
                let kept = count.min(KEEP.saturating_sub(self.total));
                self.connections[index]
                    .bytes
                    .extend_from_slice(&buffer[..kept]);
                self.total += count;
                Next::Continue
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Next::Wait,
            Err(_) => Next::End,
        }
    }
}

/// Serves `endpoint` in the foreground until the process is killed.
pub fn serve(endpoint: Endpoint) -> Result<()> {
    Options::new(endpoint).start_here()?.serve();
    bail!("the log server ended")
}
