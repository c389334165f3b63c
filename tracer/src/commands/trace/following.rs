//! A server that is traced: its probes, its records, and the answers to queries about it.

use std::{collections::HashSet, os::fd::OwnedFd, sync::Arc};

use anyhow::{Context, Result};
use log::debug;
use tokio::{io::unix::AsyncFd, sync::mpsc, task};

use super::{
    answers::{Answer, Goroutines},
    behind::FallingBehind,
    clock,
    outside::Outside,
    peers::PortDecisions,
};
use crate::{
    audit::file_state::Descriptors,
    decode::Kernel,
    probe::attach::{Attached, Sources},
    server::sockets,
    source::{
        capture::{CaptureController, maps::BufferMaps},
        readable::readable,
        ringbuf::Events,
    },
};
use tracer_core::Query;
use tracer_model::{Event, Nanos, SendQueue, Session};

/// Most answers that wait to be taken.
const ANSWERS: usize = 64;

/// A server with attached probes.
pub(super) struct AttachedServer {
    /// Becomes readable when the server ends.
    pub(super) pidfd: OwnedFd,
    pub(super) session: Session,
    pub(super) attached: Attached,
    pub(super) sources: Sources,
    pub(super) kernel: Kernel,
    /// Whether the programs buffer normal traffic.
    pub(super) buffers: bool,
    /// `None` if the server's goroutines cannot be sampled.
    pub(super) goroutines: Option<Arc<Goroutines>>,
}

/// A server while it is followed.
pub(super) struct Following {
    pid: i32,
    pub(super) attached: Attached,
    pub(super) events: Events,
    pub(super) capture: CaptureController<BufferMaps>,
    pub(super) goroutines: Option<Arc<Goroutines>>,
    ports: PortDecisions,
    outside: Outside,
    answers: mpsc::Sender<Answer>,
    pub(super) answered: mpsc::Receiver<Answer>,
    /// Queries that have not been answered, other than measurements of files.
    pub(super) open_queries: usize,
    /// Audit files that are being measured.
    measuring: HashSet<String>,
    descriptors: Arc<Descriptors>,
    pub(super) behind: FallingBehind,
}

impl Following {
    /// Returns the session, and a descriptor that becomes readable when the server ends, too.
    pub(super) fn new(server: AttachedServer) -> Result<(Session, AsyncFd<OwnedFd>, Self)> {
        let pidfd = readable(server.pidfd).context("cannot watch the server")?;
        let (answers, answered) = mpsc::channel(ANSWERS);
        let Sources { ring, maps, ports } = server.sources;
        let following = Self {
            pid: server.session.pid,
            attached: server.attached,
            capture: CaptureController::new(
                maps.with(server.kernel.clone()),
                server.buffers,
                server.session.threshold,
                clock::monotonic(),
            ),
            events: Events::new(ring, server.kernel).context("cannot poll the ring buffer")?,
            goroutines: server.goroutines,
            ports: PortDecisions::new(ports),
            outside: Outside::new(server.session.pid),
            answers,
            answered,
            open_queries: 0,
            measuring: HashSet::new(),
            descriptors: Arc::default(),
            behind: FallingBehind::default(),
        };
        Ok((server.session, pidfd, following))
    }

    /// Decides on ports on which the server has begun to listen.
    pub(super) fn decide_ports(&mut self, now: Nanos) -> Result<()> {
        let goroutines = self.goroutines.as_deref();
        self.ports.update(now, self.pid, goroutines)
    }

    /// Records that have come, at most so many; with what can be read outside of the server.
    pub(super) fn records(&mut self, most: usize) -> Result<Vec<Event>> {
        let mut events = self.events.read(most)?;
        for event in &mut events {
            self.outside.complete(event);
        }
        Ok(events)
    }

    /// Answers on a thread of its own: audit files may be large, or on a disk that hangs.
    pub(super) fn answer(&mut self, query: Query) {
        match &query {
            // Its file system may hang: one measurement at a time.
            Query::FileSize(path) if !self.measuring.insert(path.clone()) => return,
            Query::FileSize(_) => {}
            Query::Entry(_) | Query::Goroutines => self.open_queries += 1,
        }
        let (pid, goroutines) = (self.pid, self.goroutines.clone());
        let descriptors = self.descriptors.clone();
        self.work(move || Answer::to(query, pid, (goroutines.as_deref(), &descriptors)));
    }

    /// Takes note of an answer.
    pub(super) fn is_answered(&mut self, answer: &Answer) {
        match &answer.file {
            Some(path) => drop(self.measuring.remove(path)),
            None => self.open_queries -= 1,
        }
    }

    /// Reads which audit devices the server has.
    pub(super) fn read_devices(&mut self) {
        let pid = self.pid;
        if let Some(goroutines) = self.goroutines.clone() {
            self.open_queries += 1;
            self.work(move || Answer::of_devices(pid, &goroutines));
        }
    }

    fn work(&mut self, work: impl FnOnce() -> Answer + Send + 'static) {
        let answers = self.answers.clone();
        task::spawn_blocking(move || {
            // Fails when the trace has ended: then nobody needs it.
            let _ = answers.blocking_send(work());
        });
    }
}

/// Empty where the server has ended: then nothing is newer than the events.
pub(super) fn send_queues(pid: i32) -> Vec<SendQueue> {
    sockets::closing(pid).unwrap_or_else(|error| {
        debug!("{error:#}");
        Vec::new()
    })
}
