//! The agent's side of capture mode: decides when the programs buffer normal traffic, and what the core gets of the
//! buffers afterwards. The state machine is drawn in [`tracer_ebpf::capture`]: [`State`] is the agent's part of it.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use anyhow::Result;
use log::{debug, warn};
use tracer_ebpf::capture::{Mode, Role};

use self::{
    blocked::BlockedSockets,
    classify::{Class, SocketRoles, has_entry, is_complete_entry, is_complete_write},
    restore::{BufferedConnection, Restored, entries_in_pieces, restore},
    sampling::SamplePacer,
};
use tracer_core::BufferedActivity;
use tracer_model::{BufferedTotals, Device, Event, EventKind, Nanos, SocketId};

mod blocked;
pub mod classify;
pub(crate) mod maps;
pub mod restore;
mod sampling;

/// Time without an anomaly after which buffering begins, ns.
const QUIET: Nanos = 2_000_000_000;

/// Events may still come this long after a change of mode or role, ns: programs that had read the map before.
const SETTLING: Nanos = 1_000_000;

/// Most events that are kept while buffering.
const PENDING: usize = 4096;

/// Of these, the writes that show the state of audit sockets.
const LATEST_WRITES: usize = 32;

/// The programs and their maps.
pub trait KernelSide {
    /// Sets the mode.
    fn set_mode(&mut self, mode: Mode) -> Result<()>;
    /// Sets the role of a socket.
    fn set_role(&mut self, socket: SocketId, role: Role);
    /// Totals since the last call.
    fn take_totals(&mut self) -> Result<BufferedTotals>;
    /// The same, but the next call returns them again.
    fn totals(&self) -> Result<BufferedTotals>;
    /// Entries buffered since the last call, in no order. Older ones may be overwritten.
    fn take_entries(&mut self) -> Result<Vec<Event>>;
    /// The newest entries of each processor, taken or not, in no order: as many as are cheap to read.
    fn newest_entries(&self) -> Result<Vec<Event>>;
    /// The last events of each client's connection.
    fn connections(&self) -> Vec<BufferedConnection>;
    /// Whether each goroutine that writes entries and reads no connection counts as a request.
    fn counts_streams(&self) -> bool;
    /// Whether this goroutine was seen to read a connection.
    fn is_reader(&self, goid: u64) -> bool;
    /// Receives from clients while buffering.
    fn receives(&self) -> Result<u64>;
    /// Number of sockets in the table, and its capacity.
    fn sockets(&self) -> Result<(u64, u64)>;
}

/// The agent's part of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For as long as the trace lasts: with `--record`.
    AlwaysStream,
    /// `last_anomaly`: or the time at which buffering ended.
    Stream { last_anomaly: Nanos },
    /// `has_failed`: a failure was seen, and [`CaptureController::stop_buffering`] has to follow.
    Buffer { since: Nanos, has_failed: bool },
}

/// What becomes of an event that the programs sent.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is passed on at once and never kept"
)]
pub enum Observed {
    /// It goes to the core.
    Forward(Event),
    /// It is kept or dropped: buffering continues.
    Absorbed,
    /// It is kept, and buffering has to be stopped.
    StopBuffering,
}

/// Controls capture mode and keeps events that the programs sent while buffering.
pub struct CaptureController<K> {
    kernel: K,
    roles: SocketRoles,
    state: State,
    pending: VecDeque<Event>,
    /// Number of events for which there was no room, and of entries among them.
    dropped: (u64, u64),
    blocked: BlockedSockets,
    /// Entries that fell short at first and were completed while buffering.
    completed_late: u64,
    pacer: SamplePacer,
    is_warned: bool,
}

impl<K: KernelSide> CaptureController<K> {
    /// `buffers`: whether the programs buffer from the beginning, else they never do. `threshold`: of hangs, ns.
    pub fn new(kernel: K, buffers: bool, threshold: Nanos, now: Nanos) -> Self {
        Self {
            kernel,
            roles: SocketRoles::default(),
            state: if buffers {
                State::Buffer {
                    since: now,
                    has_failed: false,
                }
            } else {
                State::AlwaysStream
            },
            pending: VecDeque::new(),
            dropped: (0, 0),
            blocked: BlockedSockets::new(threshold),
            completed_late: 0,
            pacer: SamplePacer::default(),
            is_warned: false,
        }
    }

    /// The kernel side.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// These are where audit devices are.
    pub fn audit(&mut self, devices: impl IntoIterator<Item = Device>) {
        self.roles.audit(devices);
    }

    /// Whether the core gets no events now.
    pub fn is_buffering(&self) -> bool {
        matches!(self.state, State::Buffer { .. })
    }

    /// Takes an event that the programs sent.
    pub fn observe(&mut self, event: Event, now: Nanos) -> Observed {
        if self.state == State::AlwaysStream {
            return Observed::Forward(event);
        }
        let buffering = self.is_buffering();
        let (class, news) = self.roles.observe(&event, buffering, now + SETTLING);
        if let Some((socket, role)) = news {
            self.kernel.set_role(socket, role);
        }
        match &mut self.state {
            State::Buffer { has_failed, .. } => {
                // All that follows a failure is kept: the programs send it and do not buffer it.
                let had_failed = mem::replace(has_failed, *has_failed || class == Class::Failure);
                self.absorb(event, class, had_failed)
            }
            State::Stream { last_anomaly } => {
                if self.blocked.is_anomaly(&event, class) {
                    *last_anomaly = event.at;
                }
                Observed::Forward(event)
            }
            State::AlwaysStream => Observed::Forward(event),
        }
    }

    fn absorb(&mut self, event: Event, class: Class, had_failed: bool) -> Observed {
        match class {
            _ if had_failed => {}
            Class::Normal => return Observed::Absorbed,
            Class::Progress(socket) => {
                let was_blocked = self.blocked.end(socket).is_some();
                let completes = was_blocked && is_complete_write(&event) && !has_entry(&event);
                self.completed_late += u64::from(completes);
            }
            Class::Blocked(socket) => {
                self.blocked.begin(socket, event.at);
            }
            Class::Anomaly => {}
            Class::Failure => debug!("buffering ends: {:?}", event.what),
        }
        self.keep(event);
        if had_failed || class == Class::Failure {
            Observed::StopBuffering
        } else {
            Observed::Absorbed
        }
    }

    fn keep(&mut self, event: Event) {
        if self.pending.len() == PENDING {
            let dropped = self.pending.pop_front();
            self.dropped.0 += 1;
            self.dropped.1 += u64::from(dropped.as_ref().is_some_and(is_complete_entry));
        }
        self.pending.push_back(event);
    }

    /// All events so far are observed, and none was a failure: the programs may have frozen the buffers for nothing.
    pub fn unfreeze(&mut self) -> Result<()> {
        match self.state {
            State::Buffer {
                has_failed: false, ..
            } => self.kernel.set_mode(Mode::Buffer),
            _ => Ok(()),
        }
    }

    /// Whether a socket is blocked for longer than is normal.
    pub fn is_overdue(&self, now: Nanos) -> bool {
        self.is_buffering() && self.blocked.is_any_overdue(now)
    }

    /// The programs stream from now on. Returns when buffering began; `None` if it had not.
    pub fn stop_buffering(&mut self, now: Nanos) -> Result<Option<Nanos>> {
        let State::Buffer { since, .. } = self.state else {
            return Ok(None);
        };
        self.kernel.set_mode(Mode::Stream)?;
        self.blocked.clear();
        self.state = State::Stream { last_anomaly: now };
        Ok(Some(since))
    }

    /// What the core needs of the buffers after [`Self::stop_buffering`]. `streamed`: events since then; `since`: when
    /// buffering began; `until`: when it ended.
    pub fn restore(
        &mut self,
        streamed: Vec<Event>,
        (since, until): (Nanos, Nanos),
    ) -> Result<Vec<Event>> {
        let (mut totals, connections, entries) = self.take_buffered()?;
        // They follow as events.
        totals.streamed = 0;
        debug!(
            "streaming: {} connections and {} entries were buffered",
            connections.len(),
            entries.len()
        );
        let Restored { shared, mut events } = restore(connections, entries, (since, until));
        let as_events = events.iter().filter(|event| is_complete_entry(event));
        let as_events = as_events.count() as u64 + entries_in_pieces(&events);
        totals.audit_writes = totals.audit_writes.saturating_sub(as_events);
        events.extend(streamed);
        events.sort_by_key(|event| event.at);
        let what = EventKind::BufferingEnded(totals);
        let mut restored = vec![Event { at: until, what }];
        restored.extend(shared.into_iter().chain(events));
        Ok(restored)
    }

    /// Totals, connections and entries since the last call.
    fn take_buffered(&mut self) -> Result<(BufferedTotals, Vec<BufferedConnection>, Vec<Event>)> {
        let mut totals = self.kernel.take_totals()?;
        let mut entries = self.kernel.take_entries()?;
        let connections = self.kernel.connections();
        self.add_pending(&mut totals);
        if self.kernel.counts_streams() {
            let mut streams = self.streams(&entries);
            let in_kernel = streams.len();
            streams.extend(self.streams(&self.pending));
            totals.requests += (streams.len() - in_kernel) as u64;
            totals.counted = streams.into_iter().collect();
        }
        self.dropped = (0, 0);
        self.completed_late = 0;
        entries.extend(self.pending.drain(..));
        Ok((totals, connections, entries))
    }

    /// Adds what the programs sent while buffering to what they counted.
    fn add_pending(&self, totals: &mut BufferedTotals) {
        let (dropped, dropped_entries) = self.dropped;
        let entries = self.pending.iter().filter(|event| is_complete_entry(event));
        totals.streamed = dropped + self.pending.len() as u64;
        totals.audit_writes += dropped_entries + self.completed_late + entries.count() as u64;
    }

    /// Activity since the core got the last event.
    pub fn activity(&self) -> Result<BufferedActivity> {
        let mut totals = self.kernel.totals()?;
        self.add_pending(&mut totals);
        let writes = self.pending.iter().rev().filter(|e| is_complete_write(e));
        let mut latest: Vec<_> = writes.take(LATEST_WRITES).cloned().collect();
        latest.extend(self.kernel.newest_entries()?);
        latest.sort_by_key(|event| event.at);
        Ok(BufferedActivity { totals, latest })
    }

    /// Goroutines that wrote entries and read no connection.
    fn streams<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<u64> {
        let entries = events.into_iter().filter(|event| is_complete_entry(event));
        let writers: BTreeSet<_> = entries.filter_map(|event| event.actor()?.goid).collect();
        let is_stream = |goid: &u64| !self.kernel.is_reader(*goid);
        writers.into_iter().filter(is_stream).collect()
    }

    /// Whether buffering may begin if the core is idle too.
    pub fn is_quiet(&self, now: Nanos) -> bool {
        match self.state {
            State::Stream { last_anomaly } => {
                now.saturating_sub(last_anomaly) >= QUIET && !self.blocked.is_any_overdue(now)
            }
            State::AlwaysStream | State::Buffer { .. } => false,
        }
    }

    /// First step: the programs buffer. The caller then has to observe all events that they sent before, and call
    /// [`Self::start_buffering`].
    pub fn prepare_buffering(&mut self) -> Result<()> {
        self.kernel.set_mode(Mode::Buffer)
    }

    /// Second step: events are no longer forwarded.
    pub fn start_buffering(&mut self, now: Nanos) {
        debug!("no anomaly: buffering begins");
        self.state = State::Buffer {
            since: now + SETTLING,
            has_failed: false,
        };
        self.blocked.clear();
        self.pacer.settle_alarm();
    }

    /// At the end of the trace or of the server: the totals, if buffering.
    pub fn finish(&mut self, now: Nanos) -> Result<Option<Event>> {
        if !self.is_buffering() {
            return Ok(None);
        }
        let what = EventKind::BufferingEnded(self.take_buffered()?.0);
        Ok(Some(Event { at: now, what }))
    }

    /// Whether to sample the server's goroutines now.
    pub fn begins_sample(&mut self, now: Nanos) -> Result<bool> {
        if !self.is_buffering() || !self.pacer.is_due(now, || self.kernel.receives())? {
            return Ok(false);
        }
        self.pacer.begin(now, self.kernel.receives()?);
        self.warn_of_capacity()?;
        Ok(true)
    }

    /// The sample has ended.
    pub fn finish_sample(&mut self, took: Duration) {
        self.pacer.finish(took);
    }

    /// The sample ends buffering: a goroutine is stuck in a device's code.
    pub fn alarm(&mut self) {
        self.pacer.alarm();
    }

    /// The core has found a stall: the last alarm was right.
    pub fn confirm_alarm(&mut self) {
        self.pacer.confirm_alarm();
    }

    fn warn_of_capacity(&mut self) -> Result<()> {
        let (known, capacity) = self.kernel.sockets()?;
        // Lost increments may leave the counter below zero.
        if known > capacity && !self.is_warned && i64::try_from(known).is_ok() {
            self.is_warned = true;
            warn!(
                "the server has {known} connections, and the table has room for {capacity}: the longest idle ones are dropped; restart the trace for a larger table"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
