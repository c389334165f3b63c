//! Sockets of the server's own that are blocked: by a full send buffer, or until they are connected.

use std::collections::HashMap;

use super::classify::Class;
use tracer_model::{Event, Nanos, SocketId};

/// Longest time that a socket may be blocked while buffering, ns: a log server may be a little slow. A quarter of the
/// threshold if that is less: 25 ms by default.
pub(super) const PATIENCE: Nanos = 30_000_000;

/// Those that are, and since when.
#[derive(Debug)]
pub(super) struct BlockedSockets {
    since: HashMap<SocketId, Nanos>,
    /// Longest time that is normal, ns.
    patience: Nanos,
}

impl BlockedSockets {
    /// `threshold`: of hangs, ns.
    pub(super) fn new(threshold: Nanos) -> Self {
        Self {
            since: HashMap::new(),
            patience: PATIENCE.min(threshold / 4),
        }
    }

    /// Returns since when it is blocked.
    pub(super) fn begin(&mut self, socket: SocketId, at: Nanos) -> Nanos {
        *self.since.entry(socket).or_insert(at)
    }

    /// Returns since when it was blocked.
    pub(super) fn end(&mut self, socket: SocketId) -> Option<Nanos> {
        self.since.remove(&socket)
    }

    /// The socket of this event, if it has one, is not blocked.
    pub(super) fn end_of(&mut self, event: &Event) {
        if let Some(socket) = event.socket() {
            self.end(socket.id);
        }
    }

    pub(super) fn clear(&mut self) {
        self.since.clear();
    }

    /// Whether one is blocked for longer than is normal.
    pub(super) fn is_any_overdue(&self, now: Nanos) -> bool {
        self.since.values().any(|since| self.is_long(*since, now))
    }

    /// Whether a wait from `since` to `now` is longer than is normal.
    pub(super) fn is_long(&self, since: Nanos, now: Nanos) -> bool {
        now.saturating_sub(since) >= self.patience
    }

    /// Whether this event is a reason not to buffer yet. A socket that is blocked no longer than is normal is none: an HTTP client
    /// that has more requests than idle connections dials all the time.
    pub(super) fn is_anomaly(&mut self, event: &Event, class: Class) -> bool {
        match class {
            Class::Normal => {
                self.end_of(event);
                false
            }
            Class::Blocked(socket) => {
                let since = self.begin(socket, event.at);
                self.is_long(since, event.at)
            }
            Class::Progress(socket) => {
                let since = self.end(socket);
                since.is_some_and(|since| self.is_long(since, event.at))
            }
            Class::Anomaly | Class::Failure => {
                self.end_of(event);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::EventKind;

    use super::*;

    #[test]
    fn a_socket_that_is_blocked_for_a_moment_is_no_anomaly() {
        let socket = SocketId { born: 1, slot: 0 };
        let (blocked, progress) = (Class::Blocked(socket), Class::Progress(socket));
        let mut sockets = BlockedSockets::new(100_000_000);
        let mut is_anomaly = |milliseconds: Nanos, class| {
            let event = Event {
                at: milliseconds * 1_000_000,
                what: EventKind::Tick,
            };
            sockets.is_anomaly(&event, class)
        };
        for dial in (0..1000).step_by(10) {
            assert!(!is_anomaly(dial, blocked) && !is_anomaly(dial + 1, progress));
        }
        assert!(
            !is_anomaly(2000, blocked) && is_anomaly(2025, progress),
            "late"
        );
        assert!(
            !is_anomaly(3000, blocked) && is_anomaly(3030, blocked),
            "still"
        );
        assert!(sockets.is_any_overdue(3_030_000_000));
    }
}
