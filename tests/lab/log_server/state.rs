//! What a log server does with its connections, and what they brought.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::listener::Stream;

/// What is kept of the received bytes; the rest is counted only.
const KEEP: usize = 64 << 20;

/// One connection that was accepted (or, over UDP, the socket itself).
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Everything read, in order, up to a limit of 64 MiB for all connections together.
    pub bytes: Vec<u8>,
    /// Whether the connection has ended.
    pub ended: bool,
    /// Up to which era it may live; datagrams have no connection that could be reset.
    pub(super) era: Option<u32>,
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
pub(super) enum Mode {
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
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    /// Connections of an earlier era are to be reset.
    pub(super) era: u32,
    /// In which era the last connection was accepted of those that had waited for it; `None` for datagrams.
    pub(super) accepted_in: Option<u32>,
    pub(super) connections: Vec<Received>,
    pub(super) total: usize,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_replace(());
    }
}

/// What a task does next.
pub(super) enum Next {
    Continue,
    Wait,
    Rest,
    End,
}

impl State {
    pub(super) fn open(&mut self, era: Option<u32>) -> usize {
        self.connections.push(Received {
            era,
            ..Received::default()
        });
        self.connections.len() - 1
    }

    /// Whether no connection is open.
    pub(super) fn is_over(&self) -> bool {
        self.connections.iter().all(|one| one.ended)
    }

    /// Whether the connections of earlier eras are all closed.
    pub(super) fn is_reset(&self) -> bool {
        let outdated = |era: u32| era != self.era;
        let mut open = self.connections.iter().filter(|one| !one.ended);
        !self.accepted_in.is_some_and(outdated) && !open.any(|one| one.era.is_some_and(outdated))
    }

    /// Takes what the mode allows from the stream.
    pub(super) fn read(&mut self, index: usize, stream: &Stream) -> Next {
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

    pub(super) fn take(&mut self, index: usize, stream: &Stream, limit: usize) -> Next {
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
