//! The loop of a live trace: records from the kernel, time, answers to the core's questions, and
//! the reasons to end.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use jiff::Timestamp;
use log::{debug, warn};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use super::{super::outputs::Outputs, clock};
use crate::{
    audit::entry::EntryHead,
    audit::file::{Query, find_entry as find_in_files},
    core::{Core, EntryQuestion, Question, parked::Parked},
    decode::Kernel,
    event::{Device, Event, Session, What},
    probe::attach::Attached,
    sink::Worker,
    source::{readable::readable, ringbuf::Events},
    target::goroutines::{GoroutineReader, ProcessMemory, Waiting},
};

/// How often routine records are fetched; stalls wake the agent at once. The ring buffer holds
/// seconds of a loaded server.
const FETCH: Duration = Duration::from_millis(50);

/// Of these, how many make a tick for the core.
const FETCHES_A_TICK: u32 = 5;

/// How long the end waits for answers from the audit files.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Answers that may wait to be taken.
const ANSWERS: usize = 64;

/// An answer to a question of the core.
type Answer = What;

/// A trace under way.
pub(super) struct Live {
    pub(super) core: Core,
    pub(super) outputs: Outputs,
    pub(super) recording: Option<Worker<Event>>,
    pub(super) attached: Attached,
    pub(super) pid: i32,
    /// Where goroutines wait, if the server's executable lets that be told.
    pub(super) goroutines: Option<Arc<Goroutines>>,
    pub(super) limit: Option<Duration>,
    pub(super) quiet: bool,
}

/// What it takes to see where goroutines wait.
pub(super) struct Goroutines {
    pub(super) reader: GoroutineReader,
    pub(super) memory: ProcessMemory,
}

/// Why a trace ends.
#[derive(Debug)]
enum End {
    Asked,
    Limit,
    ServerGone,
    NobodyReads,
}

impl Live {
    /// Traces until there is a reason to end, and writes everything.
    pub(super) async fn run(
        mut self,
        session: Session,
        ring: RingBuf<MapData>,
        kernel: Kernel,
    ) -> Result<()> {
        let mut stops = Stops::new(self.pid, self.limit)?;
        let mut events = Events::new(ring, kernel).context("cannot poll the ring buffer")?;
        let (answers, mut answered) = mpsc::channel(ANSWERS);
        let mut open = 0;
        open += self.feed(now(What::Session(session)), &answers);
        let end = self
            .follow(&mut events, &mut stops, &answers, &mut answered, &mut open)
            .await?;
        debug!("ending: {end:?}");
        if matches!(end, End::ServerGone) {
            warn!("the server (PID {}) has ended", self.pid);
        }
        open += self.fetch(&mut events, &answers)?;
        self.last_answers(&answers, &mut answered, open).await;
        self.feed(now(What::End), &answers);
        self.finish()
    }

    async fn follow(
        &mut self,
        events: &mut Events,
        stops: &mut Stops,
        answers: &mpsc::Sender<Answer>,
        answered: &mut mpsc::Receiver<Answer>,
        open: &mut usize,
    ) -> Result<End> {
        let mut kernel_log = kernel_log(&mut self.attached);
        let mut fetch = interval(FETCH);
        fetch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fetches = 0;
        loop {
            tokio::select! {
                end = stops.wait() => return Ok(end),
                woken = events.wake_up() => woken.context("cannot poll the ring buffer")?,
                _ = fetch.tick() => fetches += 1,
                () = flush(&mut kernel_log) => continue,
                Some(answer) = answered.recv() => {
                    *open -= 1;
                    *open += self.feed(now(answer), answers);
                }
            }
            *open += self.fetch(events, answers)?;
            if fetches >= FETCHES_A_TICK {
                fetches = 0;
                *open += self.feed(now(What::Tick), answers);
                if self.outputs.are_over() {
                    return Ok(End::NobodyReads);
                }
            }
        }
    }

    /// Takes what the ring buffer holds. Returns how many questions that raised.
    fn fetch(&mut self, events: &mut Events, answers: &mpsc::Sender<Answer>) -> Result<usize> {
        let mut open = 0;
        events.drain(|event| open += self.feed(event, answers));
        for (kind, records) in self.attached.lost()? {
            let kind = format!("{kind:?}").to_lowercase();
            warn!("the ring buffer was full: {records} {kind} records lost");
            open += self.feed(now(What::Lost { kind, records }), answers);
        }
        Ok(open)
    }

    /// One event through the core. Returns how many questions it raised.
    fn feed(&mut self, event: Event, answers: &mpsc::Sender<Answer>) -> usize {
        let step = self.core.on(&event);
        if let Some(recording) = &mut self.recording {
            recording.send(&Arc::new(event));
        }
        for finding in step.findings {
            self.outputs.write(finding);
        }
        let open = step.questions.len();
        for question in step.questions {
            self.look_up(question, answers.clone());
        }
        open
    }

    /// Answers on a thread of its own: audit files may be large, or on a disk that hangs.
    fn look_up(&self, question: Question, answers: mpsc::Sender<Answer>) {
        let (pid, goroutines) = (self.pid, self.goroutines.clone());
        task::spawn_blocking(move || {
            let answer = match question {
                Question::Entry(question) => What::EntryFound {
                    question: question.id,
                    entry: find_entry(pid, &question),
                },
                Question::Goroutines => What::Parked {
                    goroutines: parked(goroutines.as_deref()),
                },
            };
            // Nobody listens any more once the trace has ended.
            let _ = answers.blocking_send(answer);
        });
    }

    async fn last_answers(
        &mut self,
        answers: &mpsc::Sender<Answer>,
        answered: &mut mpsc::Receiver<Answer>,
        mut open: usize,
    ) {
        let deadline = Instant::now() + LAST_ANSWERS;
        while open > 0 {
            let Ok(Some(answer)) = timeout_at(deadline, answered.recv()).await else {
                return;
            };
            open -= 1;
            open += self.feed(now(answer), answers);
        }
    }

    fn finish(self) -> Result<()> {
        // Detached first: what is written now may take its time.
        drop(self.attached);
        let recorded = self.recording.map_or(Ok(()), Worker::finish);
        self.outputs.finish(self.quiet)?;
        recorded
    }
}

fn now(what: What) -> Event {
    Event {
        at: clock::monotonic(),
        what,
    }
}

fn parked(goroutines: Option<&Goroutines>) -> Vec<Parked> {
    let Some(Goroutines { reader, memory }) = goroutines else {
        return Vec::new();
    };
    let waiting = reader.waiting(memory).unwrap_or_else(|error| {
        debug!("the server's goroutines could not be read this time: {error}");
        Vec::new()
    });
    waiting.iter().map(of_request).collect()
}

fn of_request(waiting: &Waiting) -> Parked {
    let configured = waiting.device.as_ref();
    Parked {
        goid: waiting.goid,
        ancestors: waiting.ancestors.clone(),
        request: waiting.request.filter(|request| *request != waiting.goid),
        place: waiting.at,
        phase: waiting.phase,
        device: configured.map(|device| Device::configured(&device.network, &device.address)),
        frames: waiting.frames.clone(),
    }
}

fn find_entry(pid: i32, question: &EntryQuestion) -> Option<EntryHead> {
    let query = Query {
        client_port: question.client_port,
        not_before: Timestamp::from_nanosecond(question.not_before.into()).ok()?,
        not_after: Timestamp::from_nanosecond(question.not_after.into()).ok()?,
    };
    find_in_files(pid, &query)
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

/// What ends a trace.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    server: AsyncFd<OwnedFd>,
    limit: Option<Instant>,
}

impl Stops {
    fn new(pid: i32, limit: Option<Duration>) -> Result<Self> {
        let on = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            server: readable(pidfd(pid)?).context("cannot watch the server")?,
            limit: limit.map(|limit| Instant::now() + limit),
        })
    }

    async fn wait(&mut self) -> End {
        let limit = self.limit;
        tokio::select! {
            _ = self.interrupt.recv() => End::Asked,
            _ = self.terminate.recv() => End::Asked,
            _ = self.hangup.recv() => End::Asked,
            _ = self.server.readable() => End::ServerGone,
            () = async { match limit {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }} => End::Limit,
        }
    }
}

/// A descriptor that becomes readable when the process ends (`pidfd_open(2)`, Linux 5.3).
fn pidfd(pid: i32) -> Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: a system call without pointers.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    nix::errno::Errno::result(fd).with_context(|| format!("the server (PID {pid}) has ended"))?;
    // SAFETY: a descriptor that the kernel just made and nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
