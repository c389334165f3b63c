//! Requests without end, one after another: some on connections that are kept, some on connections of their own,
//! and a device that refuses now and then.

use tracer_core::{Core, Query};
use tracer_model::{
    Actor, Device, EntryHead, EntryKind, Event, EventKind, Nanos, Session, Socket, SocketId,
    TcpState, Transport,
};

const MS: Nanos = 1_000_000;

/// Connections that are kept.
const KEPT: u64 = 16;
/// Every so many requests, one meets a device that refuses; every so many, one comes on a connection of its own.
const REFUSED: u64 = 10;
const SHORT: u64 = 3;

/// Has the core take so many requests; returns how many things it kept at most, looked at every 10,000.
pub(crate) fn most_kept(requests: u64) -> usize {
    let mut traffic = Traffic {
        core: Core::new(),
        now: 1_000_000 * MS,
    };
    traffic.tell(EventKind::Session(Session {
        threshold: 100 * MS,
        stacks: true,
        declared: [2, 3]
            .map(|host| Device::tcp(([10, 77, 0, host], 1515).into()))
            .into(),
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
    fn tell(&mut self, what: EventKind) {
        let step = self.core.on(&Event { at: self.now, what });
        for question in step.queries {
            self.tell(match question {
                Query::Goroutines => EventKind::GoroutinesSampled {
                    goroutines: Vec::new(),
                    handlers: None,
                },
                Query::Entry(asked) => EventKind::EntryFound { asked, entry: None },
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
        self.tell(EventKind::Receive {
            socket: client(goid),
            by: by(goid),
            bytes: 100,
            handshake: false,
        });
        self.audits(number, goid, EntryKind::Request);
        self.audits(number, goid, EntryKind::Response);
        self.tell(sent(client(goid), goid, None));
        if is_short {
            self.tell(state(
                client(goid),
                goid,
                (TcpState::Established, TcpState::FinWait1),
            ));
            self.tell(state(
                client(goid),
                goid,
                (TcpState::FinWait1, TcpState::Close),
            ));
        }
        self.now += 10 * MS;
        if self.core.due() <= self.now {
            self.tell(EventKind::Tick);
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
        self.tell(sent(device(0, 2), goid, Some(entry)));
        self.now += MS / 10;
    }

    fn is_refused(&mut self, number: u64, goid: u64) {
        let socket = || device(self.now + number, 3);
        let began = state(socket(), goid, (TcpState::Close, TcpState::SynSent));
        let reset = EventKind::Reset { socket: socket() };
        let ended = state(socket(), goid, (TcpState::SynSent, TcpState::Close));
        for what in [began, reset, ended] {
            self.tell(what);
        }
    }
}

fn by(goid: u64) -> Actor {
    Actor {
        tid: 7,
        goid: Some(goid),
        parent: Some(1),
    }
}

fn socket(born: Nanos, accepted: bool, (host, port): (u8, u16)) -> Socket {
    Socket {
        id: SocketId { born, slot: 0 },
        fd: None,
        accepted,
        transport: Transport::Tcp,
        local: None,
        remote: Some(([10, 77, 0, host], port).into()),
        path: None,
    }
}

fn client(goid: u64) -> Socket {
    socket(goid, true, (9, 20_000 + (goid % 40_000) as u16))
}

fn device(born: Nanos, host: u8) -> Socket {
    socket(born, false, (host, 1515))
}

fn sent(socket: Socket, goid: u64, entry: Option<EntryHead>) -> EventKind {
    EventKind::Send {
        socket,
        by: by(goid),
        result: 900,
        requested: Some(900),
        entry,
        tcp: None,
        status: None,
    }
}

fn state(socket: Socket, goid: u64, (old, new): (TcpState, TcpState)) -> EventKind {
    EventKind::State {
        socket,
        by: Some(by(goid)),
        old,
        new,
        errno: 0,
        tcp: None,
    }
}
