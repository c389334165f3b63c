//! Requests without end, one after another: some on connections that are kept, some on connections of their own,
//! and a device that refuses now and then.

use test_events::{
    BEGAN, LISTENER, MS, THRESHOLD, WHOLE, actor, changed, closed, device, device_address,
    received, sent, socket,
};
use tracer_core::{Core, Query};
use tracer_model::{
    Actor, EntryHead, EntryKind, Event, EventKind, Nanos, Session, Socket, TcpState,
};

/// Connections that are kept.
const KEPT: u64 = 16;
/// Every so many requests, one meets a device that refuses; every so many, one comes on a connection of its own.
const REFUSED: u64 = 10;
const SHORT: u64 = 3;

/// Has the core take so many requests; returns how many things it kept at most, counted every 10,000.
pub fn most_kept(requests: u64) -> usize {
    let mut traffic = Traffic {
        core: Core::new(),
        now: BEGAN,
    };
    traffic.deliver(EventKind::Session(Session {
        threshold: THRESHOLD,
        stacks: true,
        declared: [0, 1].map(device).into(),
        ..Session::default()
    }));
    let mut most = 0;
    for number in 0..requests {
        traffic.request(number);
        if number % 10_000 == 9_999 {
            most = most.max(traffic.core.kept());
        }
    }
    most
}

struct Traffic {
    core: Core,
    now: Nanos,
}

impl Traffic {
    fn deliver(&mut self, what: EventKind) {
        let step = self.core.on(&Event { at: self.now, what });
        for query in step.queries {
            self.deliver(match query {
                Query::Goroutines => EventKind::GoroutinesSampled {
                    goroutines: Vec::new(),
                    handlers: None,
                },
                Query::Entry(asked) => EventKind::EntryFound { asked, entry: None },
                Query::FileSize(path) => EventKind::FileSize {
                    path,
                    size: None,
                    open: None,
                    free: None,
                },
            });
        }
    }

    fn request(&mut self, number: u64) {
        let is_short = number.is_multiple_of(SHORT);
        let goid = if is_short {
            1_000 + number
        } else {
            100 + number % KEPT
        };
        self.deliver(received(client(goid), by(goid), 100));
        self.audits(number, goid, EntryKind::Request);
        self.audits(number, goid, EntryKind::Response);
        self.deliver(sent(client(goid), by(goid), WHOLE, None));
        if is_short {
            for what in closed(&client(goid), by(goid)) {
                self.deliver(what);
            }
        }
        self.now += 10 * MS;
        if self.core.due() <= self.now {
            self.deliver(EventKind::Tick);
        }
    }

    fn audits(&mut self, number: u64, goid: u64, kind: EntryKind) {
        if number.is_multiple_of(REFUSED) {
            self.is_refused(number, goid);
        }
        let entry = EntryHead {
            kind: Some(kind),
            id: Some(format!("id-{number}")),
            ..EntryHead::default()
        };
        self.deliver(sent(audit_socket(0, 0), by(goid), WHOLE, Some(entry)));
        self.now += MS / 10;
    }

    fn is_refused(&mut self, number: u64, goid: u64) {
        let socket = || audit_socket(self.now + number, 1);
        let began = changed(socket(), by(goid), (TcpState::Close, TcpState::SynSent));
        let reset = EventKind::Reset { socket: socket() };
        let ended = changed(socket(), by(goid), (TcpState::SynSent, TcpState::Close));
        for what in [began, reset, ended] {
            self.deliver(what);
        }
    }
}

fn by(goid: u64) -> Actor {
    actor(goid, LISTENER)
}

fn client(goid: u64) -> Socket {
    let port = 20_000 + (goid % 40_000) as u16;
    socket(goid, true, ([10, 77, 0, 9], port).into())
}

fn audit_socket(born: Nanos, number: usize) -> Socket {
    socket(born, false, device_address(number))
}
