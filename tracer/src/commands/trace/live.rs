//! The loop of a live trace: records from the kernel, time, answers to the core's queries, and
//! the reasons to end.

use std::{os::fd::OwnedFd, time::Duration};

use anyhow::{Context, Result};
use log::{debug, warn};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    super::{
        outputs::Outputs,
        stops::{Stop, Stops},
    },
    answers::Answer,
    clock,
    following::{AttachedServer, Following, send_queues},
    lookups::Lookups,
    notify::ServiceManager,
    recorders::Recorders,
};
use crate::{
    cli::TraceArgs,
    paths::PathRule,
    sink::together,
    source::{capture::Observed, kernel_log::KernelLog},
};
use tracer_core::{Core, Query};
use tracer_model::{Device, Event, EventKind, Finding, Nanos, SendQueue, Transport};

/// How often the ring buffer is polled; stalls wake the agent at once. It holds half a second of a loaded server.
const POLL: Duration = Duration::from_millis(50);

/// How long the end waits for answers from the audit files.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Records that are read before losses are counted.
const BATCH: usize = 1024;

/// How often to look for a server that was started again.
const SEARCH: Duration = Duration::from_millis(250);

/// Time between two snapshots, ns: while buffering they are read from the kernel's maps.
const SNAPSHOT_BUFFERING: Nanos = 500_000_000;
const SNAPSHOT_STREAMING: Nanos = 250_000_000;

/// A trace under way.
pub(super) struct Live {
    pub(super) core: Core,
    outputs: Outputs,
    pub(super) recorders: Recorders,
    stops: Stops,
    quiet: bool,
    paths: PathRule,
    lookups: Lookups,
    pub(super) manager: ServiceManager,
    /// When the last server ended, or a little later: clock ticks since the boot.
    pub(super) ended_at: u64,
    /// When the next snapshot is due.
    next_snapshot: Nanos,
    /// Of the latest event that the core has got.
    fed_until: Nanos,
}

/// Reason to stop following a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Asked,
    Limit,
    ServerGone,
    NobodyReads,
}

impl End {
    /// `None` if the trace goes on.
    fn of(stop: Stop) -> Option<Self> {
        match stop {
            Stop::Signal => Some(Self::Asked),
            Stop::Limit => Some(Self::Limit),
            Stop::Reopen => None,
        }
    }
}

impl Live {
    /// Nothing is traced yet.
    pub(super) fn new(
        outputs: Outputs,
        recorders: Recorders,
        lookups: Lookups,
        args: &TraceArgs,
    ) -> Result<Self> {
        let has_files = outputs.have_file() || recorders.all.is_some();
        Ok(Self {
            core: Core::new(),
            outputs,
            recorders,
            stops: Stops::new(args.duration, has_files)?,
            quiet: args.output.quiet,
            paths: PathRule::new(args.output.paths)?,
            lookups,
            manager: ServiceManager::from_environment(),
            ended_at: 0,
            next_snapshot: 0,
            fed_until: 0,
        })
    }

    /// Traces a server until there is a reason to end. By then all its records have been taken and the probes are
    /// detached. `again`: whether it is not the first one of this trace.
    pub(super) async fn follow(&mut self, server: AttachedServer, again: bool) -> Result<End> {
        let pid = server.session.pid;
        let (session, pidfd, mut following) = Following::new(server)?;
        let first = if again {
            EventKind::Restarted(session)
        } else {
            EventKind::Session(session)
        };
        self.feed(clock::now(first), &mut following);
        following.read_devices();
        self.manager.tracing(pid);
        let end = self.watch(&mut following, &pidfd).await?;
        self.ended_at = clock::boot_ticks();
        debug!("ending: {end:?}");
        // Now, since what follows takes time.
        let ended = clock::now(EventKind::ServerEnded);
        // Before the events, which then report what has left the queues since.
        let queues = send_queues(pid);
        self.poll(&mut following)?;
        if let Some(totals) = following.capture.finish(clock::monotonic())? {
            self.feed(totals, &mut following);
        }
        self.feed_send_queues(queues, &mut following);
        if end == End::ServerGone {
            warn!("the server (PID {pid}) has ended");
            self.feed(ended, &mut following);
        }
        self.last_answers(&mut following).await;
        Ok(end)
    }

    async fn watch(&mut self, server: &mut Following, pidfd: &AsyncFd<OwnedFd>) -> Result<End> {
        let mut kernel_log = KernelLog::new(&mut server.attached.object);
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut answer = None;
            tokio::select! {
                stop = self.stops.wait() => match End::of(stop) {
                    Some(end) => return Ok(end),
                    None => self.outputs.reopen(),
                },
                _ = pidfd.readable() => return Ok(End::ServerGone),
                woken = server.events.wake_up() => woken.context("cannot poll the ring buffer")?,
                _ = poll.tick() => {}
                () = kernel_log.flush() => continue,
                Some(answered) = server.answered.recv() => answer = Some(answered),
            }
            self.manager.alive(std::time::Instant::now());
            let polled = self.poll(server)?;
            if let Some(answer) = answer {
                // After the events that happened before it was given.
                self.take(answer, server)?;
            }
            self.look_up(server);
            self.tick(polled, server)?;
            self.snapshot(polled, server)?;
            if self.outputs.has_quit() {
                return Ok(End::Asked);
            }
            if self.outputs.are_over() {
                return Ok(End::NobodyReads);
            }
        }
    }

    /// Names of audit devices that were found.
    fn look_up(&mut self, server: &mut Following) {
        let devices = self.lookups.found(std::time::Instant::now());
        if !devices.is_empty() {
            self.feed(clock::now(EventKind::DevicesDeclared { devices }), server);
            server.capture.audit(self.core.audit_addresses());
        }
    }

    /// While buffering the core gets no ticks: nothing is under way in it. What has ended since `polled` is no stall: it is not taken yet.
    fn tick(&mut self, polled: Nanos, server: &mut Following) -> Result<()> {
        let mut now = clock::now(EventKind::Tick);
        now.at = polled.max(self.fed_until);
        server.decide_ports(now.at)?;
        if server.capture.is_overdue(now.at) {
            debug!("buffering ends: an audit socket is blocked");
            self.stop_buffering(server)?;
        }
        if server.capture.is_buffering() {
            let can_sample = server.goroutines.is_some() && server.open_queries == 0;
            if can_sample && server.capture.begins_sample(now.at)? {
                server.answer(Query::Goroutines);
            }
            return self.watch_devices(now.at, server);
        }
        if now.at >= self.core.due() {
            self.feed(now, server);
        }
        self.start_buffering(server)
    }

    /// Ends buffering if a device falls behind others: the core is to see each entry then.
    fn watch_devices(&mut self, now: Nanos, server: &mut Following) -> Result<()> {
        let begins = server.behind.begins(now);
        if !begins && !server.behind.is_ready(now) {
            return Ok(());
        }
        let debtors = self.core.debtors();
        if begins {
            let is_file = |d: &Device| d.transport == Transport::File && d.address.starts_with('/');
            let files = debtors.into_iter().filter(is_file);
            files.for_each(|file| server.answer(Query::FileSize(file.address)));
            return Ok(());
        }
        if debtors.is_empty() {
            return Ok(());
        }
        let latest = server.capture.activity()?.latest.into_iter();
        let device = |event: &Event| self.core.device_of(event.socket()?);
        let took = latest.filter_map(|event| Some((event.at, device(&event)?)));
        if server.behind.check(now, took, &debtors) {
            debug!("buffering ends: an audit device takes no entries");
            self.stop_buffering(server)?;
        }
        Ok(())
    }

    /// Gives a snapshot to the outputs that show one, if it is due.
    fn snapshot(&mut self, polled: Nanos, server: &Following) -> Result<()> {
        let now = polled.max(self.fed_until);
        if now < self.next_snapshot || !self.outputs.want_snapshots() {
            return Ok(());
        }
        let (snapshot, pause) = if server.capture.is_buffering() {
            let activity = server.capture.activity()?;
            let snapshot = self.core.snapshot_while_buffering(now, &activity);
            (snapshot, SNAPSHOT_BUFFERING)
        } else {
            (self.core.snapshot(now), SNAPSHOT_STREAMING)
        };
        self.next_snapshot = now + pause;
        self.outputs.write_snapshot(snapshot);
        Ok(())
    }

    /// Takes the records in the ring buffer, and returns when it began to. A loss is fed before the records that may have come after
    /// it: all up to now may have, since those that waited in the ring buffer are not fed at once.
    pub(super) fn poll(&mut self, server: &mut Following) -> Result<Nanos> {
        let (begun, mut has_failed) = (clock::monotonic(), false);
        loop {
            let events = server.records(BATCH)?;
            has_failed |= server.capture.is_frozen()?;
            if events.is_empty() {
                break;
            }
            self.feed_losses(server)?; // It found the ring full: the read after it is never empty.
            for event in events {
                match server.capture.observe(event, clock::monotonic()) {
                    Observed::Forward(event) => self.feed(event, server),
                    Observed::Absorbed => {}
                    Observed::StopBuffering => has_failed = true,
                }
            }
        }
        if has_failed {
            self.stop_buffering(server)?;
        }
        Ok(begun)
    }

    fn feed_losses(&mut self, server: &mut Following) -> Result<()> {
        for (kind, records) in server.attached.lost()? {
            let kind = format!("{kind:?}").to_lowercase();
            warn!("the ring buffer was full: {records} {kind} records lost");
            let at = clock::monotonic();
            let until = Some(at);
            let what = EventKind::RecordsLost {
                kind,
                records,
                until,
            };
            self.feed(Event { at, what }, server);
        }
        Ok(())
    }

    /// Gives an event to the core and its findings to the outputs.
    pub(super) fn feed(&mut self, mut event: Event, server: &mut Following) {
        self.paths.apply(&mut event);
        self.fed_until = self.fed_until.max(event.at);
        let step = self.core.on(&event);
        self.recorders.record(event);
        for finding in step.findings {
            let is_alarm = matches!(
                finding,
                Finding::Stalled(_) | Finding::Hang(_) | Finding::Forwarded(_)
            );
            if is_alarm {
                server.capture.confirm_alarm();
            }
            if matches!(finding, Finding::Refusal(_)) {
                server.behind.confirm();
            }
            self.recorders.found(&finding);
            self.outputs.write(finding);
        }
        for query in step.queries {
            server.answer(query);
        }
    }

    /// Send queues of connections that the server has closed.
    fn feed_send_queues(&mut self, mut queues: Vec<SendQueue>, server: &mut Following) {
        let closing = self.core.closing();
        queues.retain(|queue| closing.contains(&(queue.local, queue.remote)));
        self.feed(clock::now(EventKind::SendQueues { queues }), server);
    }

    fn take(&mut self, answer: Answer, server: &mut Following) -> Result<()> {
        server.is_answered(&answer);
        if let Some(devices) = answer.devices {
            self.feed(devices, server);
            server.capture.audit(self.core.audit_addresses());
        }
        if let Some(sample) = &answer.sample {
            server.capture.finish_sample(sample.took);
            if sample.is_stuck && server.capture.is_buffering() {
                debug!(
                    "buffering ends: a goroutine is stuck in a device's code, or waits for the active node"
                );
                server.capture.alarm();
                self.stop_buffering(server)?;
            }
        }
        answer
            .events
            .iter()
            .for_each(|event| server.behind.measured(event));
        // A sample while buffering that alarms nobody is normal too.
        if !server.capture.is_buffering() {
            for event in answer.events {
                self.feed(event, server);
            }
        }
        Ok(())
    }

    async fn last_answers(&mut self, server: &mut Following) {
        let deadline = Instant::now() + LAST_ANSWERS;
        while server.open_queries > 0 {
            let Ok(Some(answer)) = timeout_at(deadline, server.answered.recv()).await else {
                return;
            };
            if let Err(error) = self.take(answer, server) {
                warn!("{error:#}");
            }
        }
    }

    /// Waits until `find` finds something; `None` if the trace has to end before that.
    pub(super) async fn wait_for<T>(&mut self, mut find: impl FnMut() -> Option<T>) -> Option<T> {
        let mut search = interval(SEARCH);
        loop {
            tokio::select! {
                stop = self.stops.wait() => match End::of(stop) {
                    Some(_) => return None,
                    None => self.outputs.reopen(),
                },
                _ = search.tick() => {}
            }
            self.manager.alive(std::time::Instant::now());
            if let Some(found) = find() {
                return Some(found);
            }
            if self.outputs.has_quit() {
                return None;
            }
        }
    }

    /// Ends the trace: all outputs are written.
    pub(super) fn finish(mut self) -> Result<()> {
        self.manager.stopping();
        let end = clock::now(EventKind::End);
        for finding in self.core.on(&end).findings {
            self.outputs.write(finding);
        }
        self.recorders.record(end);
        together([self.recorders.finish(), self.outputs.finish(self.quiet)])
    }
}
