//! What the programs sent while buffering, for the core.

use std::collections::{HashSet, VecDeque};

use super::classify::{has_entry, is_complete_entry, is_complete_write};
use tracer_model::{BufferedTotals, Event, EventKind, Nanos, SocketId, TcpState};

/// Most events that are kept.
pub(super) const CAPACITY: usize = 4096;

/// Events that are kept, and counts of those for which there was no room.
#[derive(Debug, Default)]
pub(super) struct Pending {
    events: VecDeque<Event>,
    /// Ends, in order, of connections that began while buffering: the core gets those of which it gets an entry.
    ends: VecDeque<Event>,
    dropped: u64,
    /// Entries among them.
    dropped_entries: u64,
    /// Entries that fell short at first and were completed.
    completed_late: u64,
}

impl Pending {
    /// In order.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    pub(super) fn keep(&mut self, event: Event) {
        if let Some(dropped) = push(&mut self.events, event) {
            self.dropped += 1;
            self.dropped_entries += u64::from(is_complete_entry(&dropped));
        }
    }

    /// A socket has taken the rest of what it did not take at once.
    pub(super) fn completed(&mut self, event: &Event) {
        self.completed_late += u64::from(is_complete_write(event) && !has_entry(event));
    }

    /// Whether a change of state in order is how connections come and go, and is not kept as an event. `since`: when buffering began.
    pub(super) fn comes_and_goes(&mut self, event: &Event, socket: SocketId, since: Nanos) -> bool {
        match &event.what {
            EventKind::State {
                new: TcpState::Established,
                ..
            } => self.forget_dial(socket),
            EventKind::State { .. } if socket.born >= since => {
                push(&mut self.ends, event.clone());
                true
            }
            _ => false,
        }
    }

    /// A dial has soon gone well: nobody asks for it any more. Whether its beginning was kept.
    fn forget_dial(&mut self, socket: SocketId) -> bool {
        let is_it = |event: &Event| match &event.what {
            EventKind::State {
                socket: dialled,
                new,
                ..
            } => dialled.id == socket && *new == TcpState::SynSent,
            _ => false,
        };
        let dial = self.events.iter().rposition(is_it);
        dial.is_some_and(|dial| self.events.remove(dial).is_some())
    }

    /// Adds what it has to what the programs counted.
    pub(super) fn add_to(&self, totals: &mut BufferedTotals) {
        let entries = self.events.iter().filter(|event| is_complete_entry(event));
        let entries = entries.count() as u64;
        totals.streamed = self.dropped + self.events.len() as u64;
        totals.audit_writes += self.dropped_entries + self.completed_late + entries;
    }

    /// Takes all, in no order. `entries`: what the core gets of the programs' buffers.
    pub(super) fn take(&mut self, entries: &[Event]) -> Vec<Event> {
        let Self { events, ends, .. } = std::mem::take(self);
        let given = events.iter().chain(entries).filter_map(Event::socket);
        let given: HashSet<_> = given.map(|socket| socket.id).collect();
        let is_given = |end: &Event| {
            end.socket()
                .is_some_and(|socket| given.contains(&socket.id))
        };
        let ends = ends.into_iter().filter(is_given);
        ends.chain(events).collect()
    }
}

/// Returns what had to make room.
fn push(events: &mut VecDeque<Event>, event: Event) -> Option<Event> {
    let is_full = events.len() == CAPACITY;
    let oldest = is_full.then(|| events.pop_front()).flatten();
    events.push_back(event);
    oldest
}
