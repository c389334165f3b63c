//! The loop of a live trace: records from the kernel, time, answers to the core's questions, and
//! the reasons to end.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use aya_log::EbpfLogger;
use log::{debug, warn};
use tokio::{
    io::unix::AsyncFd,
    sync::mpsc,
    task,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    super::{
        outputs::Outputs,
        stops::{Stop, Stops},
    },
    answers::{Answer, Goroutines},
    clock,
};
use crate::{
    decode::Kernel,
    probe::attach::{Attached, Sources},
    server::sockets,
    sink::{Worker, together},
    source::{hold::Hold, holding::Holding, readable::readable, ringbuf::Events},
};
use tracer_core::{Core, Query};
use tracer_model::{Event, EventKind, Finding, Nanos, SendQueue, Session};

/// How often routine records are fetched; stalls wake the agent at once. The ring buffer holds
/// seconds of a loaded server.
const FETCH: Duration = Duration::from_millis(50);

/// How long the end waits for answers from the audit files.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Answers that may wait to be taken.
const ANSWERS: usize = 64;

/// How often it is looked whether a server has been started again.
const AGAIN: Duration = Duration::from_millis(250);

/// How often it is said how things stand, ns: while routine is held back, when it has to be read from the kernel side, and
/// while all is told.
const OF_ROUTINE: Nanos = 500_000_000;
const OF_TROUBLE: Nanos = 250_000_000;

/// A trace under way.
pub(super) struct Live {
    core: Core,
    outputs: Outputs,
    recording: Option<Worker<Event>>,
    stops: Stops,
    quiet: bool,
    /// When it is to be said again how things stand.
    shown: Nanos,
}

/// A server that is being traced.
pub(super) struct Server {
    /// Becomes readable when it ends.
    pub(super) pidfd: OwnedFd,
    pub(super) session: Session,
    pub(super) attached: Attached,
    pub(super) sources: Sources,
    pub(super) kernel: Kernel,
    /// Whether routine is held back, rather than all told.
    pub(super) holds: bool,
    /// Where goroutines wait, if the server's executable lets that be told.
    pub(super) goroutines: Option<Arc<Goroutines>>,
}

/// Why following a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Asked,
    Limit,
    ServerGone,
    NobodyReads,
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Signal => Self::Asked,
            Stop::Limit => Self::Limit,
        }
    }
}

/// A server while it is followed.
struct Following {
    pid: i32,
    attached: Attached,
    events: Events,
    holding: Holding<Hold>,
    goroutines: Option<Arc<Goroutines>>,
    answers: mpsc::Sender<Answer>,
    answered: mpsc::Receiver<Answer>,
    /// Questions that have not been answered.
    open: usize,
}

impl Live {
    /// Nothing is traced yet.
    pub(super) fn new(
        outputs: Outputs,
        recording: Option<Worker<Event>>,
        limit: Option<Duration>,
        quiet: bool,
    ) -> Result<Self> {
        Ok(Self {
            core: Core::new(),
            outputs,
            recording,
            stops: Stops::new(limit)?,
            quiet,
            shown: 0,
        })
    }

    /// Traces a server until there is a reason to end; by then all it did is taken in and nothing is
    /// attached any more. `again`: whether it is not the first one of this trace.
    pub(super) async fn follow(&mut self, server: Server, again: bool) -> Result<End> {
        let pid = server.session.pid;
        let pidfd = readable(server.pidfd).context("cannot watch the server")?;
        let (answers, answered) = mpsc::channel(ANSWERS);
        let Sources { ring, hold } = server.sources;
        let mut following = Following {
            pid,
            attached: server.attached,
            holding: Holding::new(
                hold.with(server.kernel.clone()),
                server.holds,
                server.session.threshold,
                clock::monotonic(),
            ),
            events: Events::new(ring, server.kernel).context("cannot poll the ring buffer")?,
            goroutines: server.goroutines,
            answers,
            answered,
            open: 0,
        };
        let first = if again {
            EventKind::Restarted(server.session)
        } else {
            EventKind::Session(server.session)
        };
        self.feed(clock::now(first), &mut following);
        let end = self.watch(&mut following, &pidfd).await?;
        debug!("ending: {end:?}");
        if end == End::ServerGone {
            warn!("the server (PID {pid}) has ended");
        }
        // First, so that what has left them since is told by the events.
        let queues = send_queues(pid);
        self.fetch(&mut following)?;
        if let Some(sum) = following.holding.sum(clock::monotonic())? {
            self.feed(sum, &mut following);
        }
        self.keep(queues, &mut following);
        self.last_answers(&mut following).await;
        Ok(end)
    }

    async fn watch(&mut self, server: &mut Following, pidfd: &AsyncFd<OwnedFd>) -> Result<End> {
        let mut kernel_log = kernel_log(&mut server.attached);
        let mut fetch = interval(FETCH);
        fetch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut answer = None;
            tokio::select! {
                stop = self.stops.wait() => return Ok(stop.into()),
                _ = pidfd.readable() => return Ok(End::ServerGone),
                woken = server.events.wake_up() => woken.context("cannot poll the ring buffer")?,
                _ = fetch.tick() => {}
                () = flush(&mut kernel_log) => continue,
                Some(answered) = server.answered.recv() => answer = Some(answered),
            }
            self.fetch(server)?;
            if let Some(answer) = answer {
                // Behind what happened before it was given.
                self.take(answer, server)?;
            }
            self.tick(server)?;
            self.show(server)?;
            if self.outputs.has_quit() {
                return Ok(End::Asked);
            }
            if self.outputs.are_over() {
                return Ok(End::NobodyReads);
            }
        }
    }

    /// While routine is held back nothing goes on that the core would have to be told the time for.
    fn tick(&mut self, server: &mut Following) -> Result<()> {
        let now = clock::now(EventKind::Tick);
        if server.holding.is_overdue(now.at) {
            debug!("no routine: somebody waits for an audit socket");
            self.resume(server)?;
        }
        if server.holding.is_on() {
            if server.goroutines.is_some() && server.open == 0 && server.holding.look(now.at)? {
                server.look_up(Query::Goroutines);
            }
            return Ok(());
        }
        if now.at >= self.core.due() {
            self.feed(now, server);
        }
        self.hold_back(server)
    }

    /// Says how things stand, if anybody wants to see it.
    fn show(&mut self, server: &Following) -> Result<()> {
        let now = clock::monotonic();
        if now < self.shown || !self.outputs.want_snapshots() {
            return Ok(());
        }
        let holds = server.holding.is_on();
        let state = if holds {
            self.core
                .snapshot_while_buffering(now, &server.holding.so_far()?)
        } else {
            self.core.snapshot(now)
        };
        self.shown = now + if holds { OF_ROUTINE } else { OF_TROUBLE };
        self.outputs.write_snapshot(state);
        Ok(())
    }

    /// Has routine held back if all is well.
    fn hold_back(&mut self, server: &mut Following) -> Result<()> {
        let is_well = server.open == 0 && server.holding.is_well(clock::monotonic());
        if !is_well || !self.core.is_calm() {
            return Ok(());
        }
        server.holding.prepare()?;
        self.fetch(server)?;
        server.holding.start(clock::monotonic());
        Ok(())
    }

    /// Has all told, and gives the core what was kept meanwhile.
    fn resume(&mut self, server: &mut Following) -> Result<()> {
        let Some(since) = server.holding.stop(clock::monotonic())? else {
            return Ok(());
        };
        let told = server.events.by_ref().collect();
        let span = (since, clock::monotonic());
        for event in server.holding.recall(told, span)? {
            self.feed(event, server);
        }
        Ok(())
    }

    /// Takes what the ring buffer holds.
    fn fetch(&mut self, server: &mut Following) -> Result<()> {
        let (mut is_over, mut is_told) = (false, false);
        while let Some(event) = server.events.next() {
            is_told = true;
            let (event, ends) = server.holding.take(event, clock::monotonic());
            is_over |= ends;
            if let Some(event) = event {
                self.feed(event, server);
            }
        }
        if is_over {
            self.resume(server)?;
        } else if is_told {
            server.holding.go_on()?;
        }
        for (kind, records) in server.attached.lost()? {
            let kind = format!("{kind:?}").to_lowercase();
            warn!("the ring buffer was full: {records} {kind} records lost");
            self.feed(clock::now(EventKind::RecordsLost { kind, records }), server);
        }
        Ok(())
    }

    /// One event through the core.
    fn feed(&mut self, event: Event, server: &mut Following) {
        let step = self.core.on(&event);
        self.record(event);
        for finding in step.findings {
            if matches!(finding, Finding::Stalled(_) | Finding::Hang(_)) {
                server.holding.was_right();
            }
            self.outputs.write(finding);
        }
        for question in step.queries {
            server.look_up(question);
        }
    }

    fn record(&mut self, event: Event) {
        if let Some(recording) = &mut self.recording {
            recording.send(&Arc::new(event));
        }
    }

    /// What connections that the server has closed still hold.
    fn keep(&mut self, mut queues: Vec<SendQueue>, server: &mut Following) {
        let closing = self.core.closing();
        queues.retain(|queue| closing.contains(&(queue.local, queue.remote)));
        self.feed(clock::now(EventKind::SendQueues { queues }), server);
    }

    fn take(&mut self, answer: Answer, server: &mut Following) -> Result<()> {
        server.open -= 1;
        if let Some(look) = &answer.sample {
            server.holding.looked(look.took);
            if look.is_stuck && server.holding.is_on() {
                debug!("no routine: a goroutine is stuck in a device's code");
                server.holding.is_alarmed();
                self.resume(server)?;
            }
        }
        // What was found while all is well is routine too.
        if let Some(event) = answer.event.filter(|_| !server.holding.is_on()) {
            self.feed(event, server);
        }
        Ok(())
    }

    async fn last_answers(&mut self, server: &mut Following) {
        let deadline = Instant::now() + LAST_ANSWERS;
        while server.open > 0 {
            let Ok(Some(answer)) = timeout_at(deadline, server.answered.recv()).await else {
                return;
            };
            if let Err(error) = self.take(answer, server) {
                warn!("{error:#}");
            }
        }
    }

    /// Waits until `found` finds something; `None` if there is a reason to end before that.
    pub(super) async fn wait_for<T>(&mut self, mut found: impl FnMut() -> Option<T>) -> Option<T> {
        let mut again = interval(AGAIN);
        loop {
            tokio::select! {
                _ = self.stops.wait() => return None,
                _ = again.tick() => {}
            }
            if let Some(found) = found() {
                return Some(found);
            }
            if self.outputs.has_quit() {
                return None;
            }
        }
    }

    /// Ends the trace: everything is written.
    pub(super) fn finish(mut self) -> Result<()> {
        let end = clock::now(EventKind::End);
        for finding in self.core.on(&end).findings {
            self.outputs.write(finding);
        }
        self.record(end);
        together([
            Worker::finish_all(self.recording),
            self.outputs.finish(self.quiet),
        ])
    }
}

impl Following {
    /// Answers on a thread of its own: audit files may be large, or on a disk that hangs.
    fn look_up(&mut self, question: Query) {
        self.open += 1;
        let (pid, goroutines, answers) = (self.pid, self.goroutines.clone(), self.answers.clone());
        task::spawn_blocking(move || {
            let answer = Answer::to(question, pid, goroutines.as_deref());
            // Nobody listens any more once the trace has ended.
            let _ = answers.blocking_send(answer);
        });
    }
}

type KernelLog = Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>;

/// The diagnostics of the programs themselves. A trace works without.
fn kernel_log(attached: &mut Attached) -> KernelLog {
    match EbpfLogger::init(&mut attached.object) {
        Ok(logger) => readable(logger).ok(),
        Err(error) => {
            debug!("no diagnostics from the eBPF programs: {error}");
            None
        }
    }
}

async fn flush(kernel_log: &mut KernelLog) {
    let Some(kernel_log) = kernel_log else {
        return std::future::pending().await;
    };
    if let Ok(mut guard) = kernel_log.readable_mut().await {
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}

/// None where the server has ended: then nothing newer is known than what the events said.
fn send_queues(pid: i32) -> Vec<SendQueue> {
    sockets::closing(pid).unwrap_or_else(|error| {
        debug!("{error:#}");
        Vec::new()
    })
}
