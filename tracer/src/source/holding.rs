//! When routine is held back in the kernel, and what becomes of what was kept there.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    time::Duration,
};

use anyhow::Result;
use log::{debug, warn};

use super::routine::{Last, Recalled, Role, Roles, Sight, recall};
use tracer_core::BufferedActivity;
use tracer_model::{BufferedTotals, Event, EventKind, Nanos, SocketId, took_all};

/// All has to be well for so long before routine is held back again, ns.
const WELL: Nanos = 2_000_000_000;

/// A write that falls short, or a connection that is not there at once, is routine for so long, ns: the log server
/// is a little slow. Longer is not: in good time before the usual threshold of 100 ms.
const PATIENCE: Nanos = 30_000_000;

/// What the programs told between their last look at the switch and ours, ns.
const BETWEEN: Nanos = 1_000_000;

/// Of these, the writes that are looked at to see how audit sockets do.
const NEWEST: usize = 32;

/// Told events that are kept while routine is held back.
const KEPT: usize = 4096;

/// Between two looks at the server's goroutines, while routine is held back: so that they take half a percent
/// of a processor, but this at least and at most. As exact as a stall is found that no socket tells.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const SHARE: u32 = 200;

/// The same while clients send nothing.
const IDLE: Duration = Duration::from_secs(1);

/// What looks cost is doubled in that reckoning for each false alarm in a row, up to so many.
const ALARMS: u32 = 5;

/// The kernel side of it.
pub trait KernelSide {
    /// Has routine held back, or told, from now on.
    fn switch(&mut self, on: bool) -> Result<()>;
    /// Tells what a socket is for.
    fn set_role(&mut self, socket: SocketId, role: Role);
    /// What was counted since the last call.
    fn routine(&mut self) -> Result<BufferedTotals>;
    /// The same, without taking it.
    fn so_far(&self) -> Result<BufferedTotals>;
    /// The newest entries that were kept, in no order, taken or not: as many as are cheap to read.
    fn newest(&self) -> Result<Vec<Event>>;
    /// Whether each goroutine that writes entries and reads no connection is counted as a request.
    fn counts_streams(&self) -> bool;
    /// Whether this goroutine was seen to read a connection.
    fn reads(&self, goid: u64) -> bool;
    /// What was last received from each client, and sent to it.
    fn connections(&self) -> Vec<Last>;
    /// The entries that were kept since the last call, in no order, as far as there was room for them.
    fn entries(&mut self) -> Result<Vec<Event>>;
    /// How often something has been received from clients, while routine was held back.
    fn receives(&self) -> Result<u64>;
    /// How many sockets are known, and for how many there is room.
    fn sockets(&self) -> Result<(u64, u64)>;
}

/// Whether routine is held back, and what was told meanwhile.
pub struct Holding<K> {
    kernel: K,
    roles: Roles,
    state: State,
    /// What was told while routine was held back, and did not end it.
    kept: VecDeque<Event>,
    /// Of what there was no room for, the number, and that of entries.
    dropped: (u64, u64),
    /// Who waits for a socket, and since when.
    waits: HashMap<SocketId, Nanos>,
    /// Whoever waits for longer does not do so as a matter of routine, ns.
    patience: Nanos,
    /// Entries that were written in the end.
    late: u64,
    looks: Looks,
    /// Whether what was told ends it.
    is_over: bool,
    is_warned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All is told for as long as the trace lasts.
    Never,
    /// All is told; when something did not go well last.
    Told(Nanos),
    /// Routine is held back since then.
    Held(Nanos),
}

/// Looks while routine is held back.
#[derive(Debug, Default)]
struct Looks {
    /// When the next one is due.
    due: Nanos,
    /// What the last one took.
    took: Duration,
    /// Receives from clients when it was asked for; of a stall that was there before the trace, two looks are soon taken.
    receives: Option<u64>,
    /// Whether a look has ended the holding back, and nothing has come of it yet.
    is_alarmed: bool,
    /// How often that was all.
    alarms: u32,
}

impl<K: KernelSide> Holding<K> {
    /// `holds`: whether the kernel side holds routine back, or nothing is ever held back. `threshold`: what is to be
    /// told has lasted for so long, ns.
    pub fn new(kernel: K, holds: bool, threshold: Nanos, now: Nanos) -> Self {
        Self {
            kernel,
            roles: Roles::default(),
            state: if holds {
                State::Held(now)
            } else {
                State::Never
            },
            kept: VecDeque::new(),
            dropped: (0, 0),
            waits: HashMap::new(),
            patience: PATIENCE.min(threshold / 4),
            late: 0,
            looks: Looks::default(),
            is_over: false,
            is_warned: false,
        }
    }

    /// The kernel side.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Whether routine is held back.
    pub fn is_on(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    /// Takes an event that was told; gives it back if the core is to be told too, which it is not while
    /// routine is held back. Says whether that is over by it.
    pub fn take(&mut self, event: Event, now: Nanos) -> (Option<Event>, bool) {
        if self.state == State::Never {
            return (Some(event), false);
        }
        let is_on = self.is_on();
        let (sight, news) = self.roles.see(&event, is_on, now + BETWEEN);
        if let Some((socket, role)) = news {
            self.kernel.set_role(socket, role);
        }
        if let State::Told(trouble) = &mut self.state
            && !matches!(sight, Sight::Nothing | Sight::Works(_))
        {
            *trouble = event.at;
        }
        if !is_on {
            return (Some(event), false);
        }
        if self.is_over {
            // What follows a failure is told.
            self.keep(event);
            return (None, true);
        }
        match sight {
            Sight::Nothing => return (None, false),
            Sight::Works(socket) => {
                let waited = self.waits.remove(&socket).is_some();
                // The entry that fell short has been written.
                self.late += u64::from(waited && !is_entry(&event) && is_write(&event));
            }
            Sight::Waits(socket) => {
                self.waits.entry(socket).or_insert(event.at);
            }
            Sight::Odd => {}
            Sight::Trouble => {
                debug!("no routine: {:?}", event.what);
                self.is_over = true;
            }
        }
        self.keep(event);
        (None, sight == Sight::Trouble)
    }

    /// What was told while routine was held back has been taken, and was no reason to end it, as the kernel side may
    /// have thought.
    pub fn go_on(&mut self) -> Result<()> {
        if self.is_on() && !self.is_over {
            self.kernel.switch(true)?;
        }
        Ok(())
    }

    /// Whether somebody has waited for a socket for too long for that to be routine.
    pub fn is_overdue(&self, now: Nanos) -> bool {
        let mut waits = self.waits.values();
        self.is_on() && waits.any(|since| now.saturating_sub(*since) >= self.patience)
    }

    fn keep(&mut self, event: Event) {
        if self.kept.len() == KEPT {
            let dropped = self.kept.pop_front();
            self.dropped.0 += 1;
            self.dropped.1 += u64::from(dropped.as_ref().is_some_and(is_entry));
        }
        self.kept.push_back(event);
    }

    /// From now on all is told.
    pub fn stop(&mut self, now: Nanos) -> Result<Option<Nanos>> {
        let State::Held(since) = self.state else {
            return Ok(None);
        };
        self.kernel.switch(false)?;
        self.is_over = false;
        self.waits.clear();
        self.state = State::Told(now);
        Ok(Some(since))
    }

    /// What the core needs of all that was kept since then. `told`: what has been told since it was stopped.
    pub fn recall(&mut self, told: Vec<Event>, (since, now): (Nanos, Nanos)) -> Result<Vec<Event>> {
        let (mut routine, connections, entries) = self.kept()?;
        // They are told singly.
        routine.told = 0;
        debug!(
            "routine is told again: {} connections and {} entries were kept",
            connections.len(),
            entries.len()
        );
        let Recalled { shared, mut events } = recall(connections, entries, (since, now));
        let singly = events.iter().filter(|event| is_entry(event)).count() as u64;
        routine.audit_writes = routine.audit_writes.saturating_sub(singly);
        events.extend(told);
        events.sort_by_key(|event| event.at);
        let what = EventKind::BufferingEnded(routine);
        let mut recalled = vec![Event { at: now, what }];
        recalled.extend(shared.into_iter().chain(events));
        Ok(recalled)
    }

    /// What has happened since it was last asked for: in numbers, and what was kept of it.
    fn kept(&mut self) -> Result<(BufferedTotals, Vec<Last>, Vec<Event>)> {
        let mut routine = self.kernel.routine()?;
        let mut entries = self.kernel.entries()?;
        let connections = self.kernel.connections();
        let (told, dropped) = mem::take(&mut self.dropped);
        routine.told = told + self.kept.len() as u64;
        routine.audit_writes += dropped + self.kept.iter().filter(|e| is_entry(e)).count() as u64;
        routine.audit_writes += mem::take(&mut self.late);
        if self.kernel.counts_streams() {
            let mut streams = self.streams(&entries);
            let in_kernel = streams.len();
            streams.extend(self.streams(&self.kept));
            routine.requests += (streams.len() - in_kernel) as u64;
            routine.counted = streams.into_iter().collect();
        }
        entries.extend(self.kept.drain(..));
        Ok((routine, connections, entries))
    }

    /// What has been held back since the core was told last, without taking it.
    pub fn so_far(&self) -> Result<BufferedActivity> {
        let mut routine = self.kernel.so_far()?;
        let told = self.kept.iter().filter(|event| is_entry(event));
        let (dropped, entries) = self.dropped;
        routine.told = dropped + self.kept.len() as u64;
        routine.audit_writes += entries + self.late + told.count() as u64;
        let told = self.kept.iter().rev().filter(|event| is_write(event));
        let mut latest: Vec<_> = told.take(NEWEST).cloned().collect();
        latest.extend(self.kernel.newest()?);
        latest.sort_by_key(|event| event.at);
        Ok(BufferedActivity { routine, latest })
    }

    /// Goroutines that wrote entries and read no connection.
    fn streams<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<u64> {
        let entries = events.into_iter().filter(|event| is_entry(event));
        let writers: BTreeSet<_> = entries.filter_map(|event| event.actor()?.goid).collect();
        let is_stream = |goid: &u64| !self.kernel.reads(*goid);
        writers.into_iter().filter(is_stream).collect()
    }

    /// Whether nothing has been told for long enough that does not go well. If the core is calm too, routine
    /// may be held back again.
    pub fn is_well(&self, now: Nanos) -> bool {
        match self.state {
            State::Told(trouble) => now.saturating_sub(trouble) >= WELL,
            State::Never | State::Held(_) => false,
        }
    }

    /// First half of that: the programs are told. Then the caller has to take what they told until now, and
    /// call [`Self::start`].
    pub fn prepare(&mut self) -> Result<()> {
        self.kernel.switch(true)
    }

    /// Second half: what they told before has been taken.
    pub fn start(&mut self, now: Nanos) {
        debug!("all is well: routine is held back");
        self.state = State::Held(now + BETWEEN);
        let looks = &mut self.looks;
        looks.alarms = if looks.is_alarmed {
            (looks.alarms + 1).min(ALARMS)
        } else {
            0
        };
        looks.is_alarmed = false;
    }

    /// The sum of what was held back, at the end of the trace.
    pub fn sum(&mut self, now: Nanos) -> Result<Option<Event>> {
        if !self.is_on() {
            return Ok(None);
        }
        let what = EventKind::BufferingEnded(self.kept()?.0);
        Ok(Some(Event { at: now, what }))
    }

    /// Whether to look at the server's goroutines now.
    pub fn look(&mut self, now: Nanos) -> Result<bool> {
        if !self.is_on() || now < self.looks.due {
            return Ok(false);
        }
        let receives = self.kernel.receives()?;
        let is_idle = self.looks.receives.replace(receives) == Some(receives);
        let (least, most) = LOOKS;
        let share = SHARE << self.looks.alarms;
        let pause = (self.looks.took * share).clamp(least, most);
        let pause = if is_idle { pause.max(IDLE) } else { pause };
        self.looks.due = now + Nanos::try_from(pause.as_nanos())?;
        self.warn_of_size()?;
        Ok(true)
    }

    /// What a look took.
    pub fn looked(&mut self, took: Duration) {
        self.looks.took = took;
    }

    /// A look ends the holding back.
    pub fn is_alarmed(&mut self) {
        self.looks.is_alarmed = true;
    }

    /// Something has come of what was told.
    pub fn was_right(&mut self) {
        self.looks.is_alarmed = false;
    }

    fn warn_of_size(&mut self) -> Result<()> {
        let (known, room) = self.kernel.sockets()?;
        if known > room && !self.is_warned && i64::try_from(known).is_ok() {
            self.is_warned = true;
            warn!(
                "the server has {known} connections, and there is room for {room}: who has been idle longest is forgotten; begin the trace anew for more room"
            );
        }
        Ok(())
    }
}

/// An entry that was taken whole.
fn is_entry(event: &Event) -> bool {
    is_write(event) && matches!(&event.what, EventKind::Send { entry: Some(_), .. })
}

/// A send that took all it was given.
fn is_write(event: &Event) -> bool {
    match &event.what {
        EventKind::Send {
            result, requested, ..
        } => took_all(*result, *requested),
        _ => false,
    }
}
