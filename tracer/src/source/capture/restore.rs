//! What the core gets of the kernel's buffers when buffering ends: events of requests that are or may be under way.

use std::collections::{HashMap, HashSet};

use tracer_model::{EntryKind, Event, EventKind, Nanos, SocketId};

use super::classify::{has_entry, is_complete_write};

/// After a response entry that went well the request is over: an entry of another device follows within this time, ns.
const REQUEST_OVER: Nanos = 1_000_000_000;

/// The last events of a client's connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BufferedConnection {
    /// The receive that began the last request.
    pub received: Option<BufferedEvent>,
    /// The last send.
    pub sent: Option<BufferedEvent>,
}

/// An event in the kernel's buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferedEvent {
    /// The event.
    pub event: Event,
    /// Whether it was sent to the agent too when it happened.
    pub was_sent: bool,
    /// Of a receive: whether it was answered while the buffers were frozen, as they do not show themselves.
    pub was_answered: bool,
}

impl BufferedEvent {
    /// Whether the core has not seen it, or no longer knows it: it was not sent, or before buffering began at `since`. If it was answered
    /// before that, it is over.
    fn is_news(&self, since: Nanos) -> bool {
        let is_older = self.event.at < since;
        (!self.was_sent || is_older) && !(self.was_answered && is_older)
    }
}

impl BufferedConnection {
    /// The goroutine that serves the connection; `None` if it carries several requests at once. In HTTP/1.1 one
    /// goroutine reads and answers, but a goroutine that it started may have read already (`net/http`,
    /// `connReader.backgroundRead`).
    pub fn server(&self) -> Option<u64> {
        let reader = self.received.as_ref()?.event.actor()?;
        match self.writer() {
            Some(writer) if reader.goid != Some(writer) => {
                Some(writer).filter(|_| reader.parent == Some(writer))
            }
            _ => reader.goid,
        }
    }

    fn writer(&self) -> Option<u64> {
        self.sent.as_ref()?.event.actor()?.goid
    }

    /// Time of the last request, ns; 0 before the first.
    pub fn received_at(&self) -> Nanos {
        self.received
            .as_ref()
            .map_or(0, |buffered| buffered.event.at)
    }

    /// Time of the last send, ns; 0 before the first.
    pub fn sent_at(&self) -> Nanos {
        self.sent.as_ref().map_or(0, |buffered| buffered.event.at)
    }

    /// Whether other goroutines write than read: the core needs both events to know whose connection it is.
    fn is_shared(&self) -> bool {
        let received = self.received.as_ref();
        let reader = received.and_then(|buffered| buffered.event.actor()?.goid);
        self.writer().is_some() && self.writer() != reader
    }

    /// Whether the last receive was a TLS handshake: a request may come with its end, and the next send may be no
    /// answer.
    pub fn is_handshake(&self) -> bool {
        let received = self.received.as_ref().map(|buffered| &buffered.event.what);
        matches!(
            received,
            Some(EventKind::Receive {
                handshake: true,
                ..
            })
        )
    }
}

/// Events for the core.
#[derive(Debug, Default)]
pub struct Restored {
    /// The last send and receive of connections that carry several requests. They come first, though they may be newer
    /// than the other events: without them the core would not know to whom those requests belong.
    pub shared: Vec<Event>,
    /// The other events, in no order.
    pub events: Vec<Event>,
}

/// Selects what the core needs of the buffers. Of connections that wait for an answer, or whose mode of use is
/// undecided, the last events; of `entries` those of requests that may be under way; other entries only count for
/// their audit connection ([`EventKind::BufferedWrite`]). `since`: when buffering began; `now`: when the buffers were
/// fetched.
pub fn restore(
    connections: Vec<BufferedConnection>,
    entries: Vec<Event>,
    (since, now): (Nanos, Nanos),
) -> Restored {
    let last = |of: &BufferedConnection| Some((of.server()?, of.sent_at().max(of.received_at())));
    let last: HashMap<u64, Nanos> = connections.iter().filter_map(last).collect();
    let entries = entries.into_iter().map(|entry| {
        let goid = entry.actor().and_then(|by| by.goid);
        let is_over = match goid.and_then(|goid| last.get(&goid)) {
            Some(last) => entry.at <= *last,
            None => is_response(&entry) && entry.at + REQUEST_OVER < now,
        };
        if is_over {
            buffered_write(entry)
        } else {
            entry
        }
    });
    let mut restored = Restored {
        events: entries.collect(),
        ..Restored::default()
    };
    for connection in connections {
        let awaits_answer = connection.received_at() > connection.sent_at();
        let is_undecided = connection.is_shared() || connection.is_handshake();
        let is_served = connection.server().is_some();
        let received = connection
            .received
            .filter(|_| awaits_answer || is_undecided);
        let sent = connection.sent.filter(|_| is_undecided);
        let news = [sent, received].into_iter().flatten();
        let news = news.filter(|buffered| buffered.is_news(since));
        let news = news.map(|buffered| buffered.event);
        if is_undecided && !is_served {
            restored.shared.extend(news);
        } else {
            restored.events.extend(news);
        }
    }
    restored
}

/// Entries that fell short at first, and of which the last piece is among the events too. Those of requests that are over are no
/// sends any more.
pub(super) fn entries_in_pieces(events: &[Event]) -> u64 {
    let mut sends: Vec<_> = events.iter().filter_map(own_send).collect();
    sends.sort_by_key(|(at, ..)| *at);
    let (mut begun, mut ended) = (HashSet::new(), 0);
    for (_, event, socket) in sends {
        if !is_complete_write(event) {
            begun.insert(socket);
        } else if begun.remove(&socket) && !has_entry(event) {
            ended += 1;
        }
    }
    ended
}

/// A send on a socket that the server opened.
fn own_send(event: &Event) -> Option<(Nanos, &Event, SocketId)> {
    match &event.what {
        EventKind::Send { socket, .. } if !socket.accepted => Some((event.at, event, socket.id)),
        _ => None,
    }
}

fn is_response(event: &Event) -> bool {
    let EventKind::Send {
        entry: Some(entry), ..
    } = &event.what
    else {
        return false;
    };
    entry.kind == Some(EntryKind::Response)
}

/// Without what ties it to a request.
fn buffered_write(event: Event) -> Event {
    let Event { at, what } = event;
    let what = match what {
        EventKind::Send {
            socket,
            result,
            requested,
            entry,
            tcp,
            ..
        } => EventKind::BufferedWrite {
            socket,
            bytes: u64::try_from(result).unwrap_or(0),
            requested,
            entry,
            tcp,
        },
        other => other,
    };
    Event { at, what }
}

#[cfg(test)]
mod tests;
