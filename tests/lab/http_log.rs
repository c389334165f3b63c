//! An HTTP server that takes audit entries, as `OpenBao`'s `http` device sends them: one entry a POST.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket;

use crate::netns::Namespace;

/// A server in threads of this process. Stopped when dropped.
#[derive(Debug)]
pub struct HttpLog {
    listener: TcpListener,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The status of answers that are not 200.
    status: Option<u16>,
    /// How long the next answers are delayed, in order; those after them are not.
    delays: VecDeque<Duration>,
    /// Whether each connection ends with its first answer.
    closes: bool,
    entries: usize,
    /// By number, in the order in which they were accepted.
    open: HashMap<usize, TcpStream>,
}

impl HttpLog {
    /// Starts it in `namespace`; it listens when this returns.
    pub fn start(namespace: &Namespace, at: SocketAddr) -> Result<Self> {
        let listener = namespace.run(|| Ok(TcpListener::bind(at)?));
        let listener = listener.with_context(|| format!("cannot listen on {at}"))?;
        let state = Arc::new(Mutex::new(State::default()));
        let (accepting, shared) = (listener.try_clone()?, state.clone());
        let thread = thread::spawn(move || {
            let streams = accepting.incoming().map_while(Result::ok);
            for (number, stream) in streams.enumerate() {
                let shared = shared.clone();
                if let Ok(stream) = stream.try_clone() {
                    lock(&shared).open.insert(number, stream);
                }
                thread::spawn(move || {
                    // A connection that ends is no matter.
                    drop(answer_all(stream, &shared));
                    lock(&shared).open.remove(&number);
                });
            }
        });
        Ok(Self {
            listener,
            state,
            thread: Some(thread),
        })
    }

    /// Delays the next answers by so much each; those after them come at once.
    pub fn delay(&self, answers: &[Duration]) {
        lock(&self.state).delays = answers.iter().copied().collect();
    }

    /// Answers with this status from now on; with 200 again for `None`.
    pub fn answer_with(&self, status: Option<u16>) {
        lock(&self.state).status = status;
    }

    /// Ends each connection with the answer to its first entry from now on, and says so in the answer.
    pub fn close_each_connection(&self) {
        lock(&self.state).closes = true;
    }

    /// How many entries it has taken.
    pub fn entries(&self) -> usize {
        lock(&self.state).entries
    }
}

impl Drop for HttpLog {
    fn drop(&mut self) {
        // The thread's `accept` then fails (`inet_csk_accept`: a socket that does not listen).
        if socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        for stream in lock(&self.state).open.values() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer_all(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut answers = stream;
    while let Some(length) = head(&mut requests)? {
        std::io::copy(&mut (&mut requests).take(length), &mut std::io::sink())?;
        let (delay, status, closes) = {
            let mut state = lock(state);
            state.entries += 1;
            let status = state.status.unwrap_or(200);
            (state.delays.pop_front(), status, state.closes)
        };
        thread::sleep(delay.unwrap_or_default());
        let close = if closes { "Connection: close\r\n" } else { "" };
        // In one piece, as servers do.
        let answer = format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n{close}\r\n");
        answers.write_all(answer.as_bytes())?;
        if closes {
            break;
        }
    }
    Ok(())
}

/// Reads a request up to its body, and how long that is. `None` at the end of the connection.
fn head(requests: &mut impl BufRead) -> std::io::Result<Option<u64>> {
    let mut length = 0;
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            return Ok(Some(length));
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        line.clear();
    }
    Ok(None)
}
