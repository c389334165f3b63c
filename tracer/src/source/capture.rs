//! The agent's side of capture mode: decides when the programs buffer normal traffic, and what the core gets of the
//! buffers afterwards. The state machine is drawn in [`tracer_ebpf::capture`]: [`State`] is the agent's part of it.

use std::{collections::BTreeSet, mem, net::SocketAddr, time::Duration};

use anyhow::Result;
use log::{debug, warn};
use tracer_ebpf::capture::{Mode, Role};

use self::{
    blocked::BlockedSockets,
    classify::{Class, News, SocketRoles, is_complete_entry, is_complete_write, is_over_http},
    pending::Pending,
    restore::{BufferedConnection, Restored, entries_in_pieces, restore},
    sampling::SamplePacer,
};
use tracer_core::BufferedActivity;
use tracer_model::{BufferedTotals, Device, Event, EventKind, Nanos, SocketId, Transport};

mod blocked;
pub mod classify;
mod destination;
pub(crate) mod maps;
mod pending;
pub mod restore;
mod sampling;

/// Time without an anomaly after which buffering begins, ns.
const QUIET: Nanos = 2_000_000_000;

/// Events may still come this long after a change of mode or role, ns: programs that had read the map before.
const SETTLING: Nanos = 1_000_000;

/// Of what is kept while buffering, the writes that show the state of audit sockets.
const LATEST_WRITES: usize = 32;

/// The programs and their maps.
pub trait KernelSide {
    /// The mode, which the programs may have changed.
    fn mode(&self) -> Result<Mode>;
    /// Sets the mode.
    fn set_mode(&mut self, mode: Mode) -> Result<()>;
    /// Sets the role of a socket.
    fn set_role(&mut self, socket: SocketId, role: Role);
    /// Sets the role of sockets that lead there and have no role of their own.
    fn set_destination(&mut self, destination: (Transport, SocketAddr), role: Role);
    /// Sockets that lead there and send requests with this hash carry audit entries.
    fn set_entry_request(&mut self, remote: SocketAddr, hash: u64);
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
    pending: Pending,
    blocked: BlockedSockets,
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
            pending: Pending::default(),
            blocked: BlockedSockets::new(threshold),
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
        let news = self.roles.audit(devices);
        self.set_roles(news);
    }

    fn set_roles(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Socket(socket, role) => self.kernel.set_role(socket, role),
                News::Destination(to, role) => self.kernel.set_destination(to, role),
                News::EntryRequest(remote, hash) => self.kernel.set_entry_request(remote, hash),
            }
        }
    }

    /// To be called when events have been taken from the programs, before [`Self::observe`]. Returns whether they have frozen the
    /// buffers. They may have sent any of these events after that, so all are kept.
    pub fn is_frozen(&mut self) -> Result<bool> {
        let State::Buffer { has_failed, .. } = &mut self.state else {
            return Ok(false);
        };
        *has_failed |= self.kernel.mode()? == Mode::Frozen;
        Ok(*has_failed)
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
        let (class, news) = self
            .roles
            .observe(&event, self.is_buffering(), now + SETTLING);
        self.set_roles(news);
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
        let mut stops = had_failed || class == Class::Failure;
        match class {
            Class::Normal => {
                self.blocked.end_of(&event);
                if !had_failed {
                    return Observed::Absorbed;
                }
            }
            Class::Progress(socket) => {
                let since = self.blocked.end(socket);
                // It was over before the agent came to notice it.
                stops |= since.is_some_and(|since| self.blocked.is_long(since, event.at));
                if since.is_some() {
                    self.pending.completed(&event);
                }
                if !stops && self.is_forgotten(&event, socket) {
                    return Observed::Absorbed;
                }
            }
            Class::Blocked(socket) => {
                self.blocked.begin(socket, event.at);
            }
            Class::Failure => debug!("buffering ends: {:?}", event.without_paths().what),
            Class::Anomaly => {}
        }
        self.pending.keep(event);
        if stops {
            Observed::StopBuffering
        } else {
            Observed::Absorbed
        }
    }

    /// Whether this change of state is how connections come and go, so that the core needs to know of it no more.
    fn is_forgotten(&mut self, event: &Event, socket: SocketId) -> bool {
        let State::Buffer { since, .. } = self.state else {
            return false;
        };
        self.pending.comes_and_goes(event, socket, since)
    }

    /// Whether a socket is blocked for longer than is normal.
    pub fn is_overdue(&self, now: Nanos) -> bool {
        self.is_buffering() && self.blocked.is_any_overdue(now)
    }

    /// The programs send all from now on, and leave the buffers to [`Self::restore`]: what is answered meanwhile would be in
    /// neither. Returns when buffering began; `None` if it had not.
    pub fn stop_buffering(&mut self, now: Nanos) -> Result<Option<Nanos>> {
        let State::Buffer { since, .. } = self.state else {
            return Ok(None);
        };
        self.kernel.set_mode(Mode::Frozen)?;
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
        self.kernel.set_mode(Mode::Stream)?;
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
        self.pending.add_to(&mut totals);
        if self.kernel.counts_streams() {
            let mut streams = self.streams(&entries);
            let in_kernel = streams.len();
            streams.extend(self.streams(self.pending.events()));
            totals.requests += (streams.len() - in_kernel) as u64;
            totals.counted = streams.into_iter().collect();
        }
        let pending = self.pending.take(&entries);
        entries.extend(pending);
        Ok((totals, connections, entries))
    }

    /// Activity since the core got the last event.
    pub fn activity(&self) -> Result<BufferedActivity> {
        let mut totals = self.kernel.totals()?;
        self.pending.add_to(&mut totals);
        let writes = self.pending.events().rev();
        let writes = writes.filter(|event| is_complete_write(event));
        let mut latest: Vec<_> = writes.take(LATEST_WRITES).cloned().collect();
        latest.extend(self.kernel.newest_entries()?);
        latest.sort_by_key(|event| event.at);
        Ok(BufferedActivity { totals, latest })
    }

    /// Goroutines that wrote entries and read no connection.
    fn streams<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<u64> {
        let by_handlers = |event: &&Event| is_complete_entry(event) && !is_over_http(event);
        let entries = events.into_iter().filter(by_handlers);
        let writers: BTreeSet<_> = entries.filter_map(|event| event.actor()?.goid).collect();
        let is_stream = |goid: &u64| !self.kernel.is_reader(*goid);
        writers.into_iter().filter(is_stream).collect()
    }

    /// Whether buffering may begin if the core is idle too. A socket that is blocked is the core's to know: it may have been given up,
    /// which of a Unix socket nothing shows here.
    pub fn is_quiet(&self, now: Nanos) -> bool {
        let State::Stream { last_anomaly } = self.state else {
            return false;
        };
        now.saturating_sub(last_anomaly) >= QUIET
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

    /// At the end of the trace or of the server: the totals, if buffering. Else what programs counted late, if anything: one that
    /// had read the mode before buffering ended may count after the totals were taken.
    pub fn finish(&mut self, now: Nanos) -> Result<Option<Event>> {
        let totals = match self.state {
            State::AlwaysStream => return Ok(None),
            State::Buffer { .. } => self.take_buffered()?.0,
            State::Stream { .. } => match self.kernel.take_totals()? {
                late if late.requests > 0 => late,
                _ => return Ok(None),
            },
        };
        let what = EventKind::BufferingEnded(totals);
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
