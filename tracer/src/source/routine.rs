//! What of the server's doings is routine, and what has to be known of it when something no longer is.
//!
//! While all goes well the kernel side tells nothing of audit sockets and clients (`tracer-ebpf/src/hold.rs`).
//! It has to be told which sockets those are; what it tells all the same decides whether routine is over;
//! and of what it kept meanwhile, the core is given what belongs to requests under way.

use std::collections::{HashMap, HashSet};

use tracer_model::{Device, Event, EventKind, Nanos, Socket, SocketId, TcpState, took_all};

/// `-EAGAIN` (`include/uapi/asm-generic/errno-base.h`).
const EAGAIN: i64 = -11;

/// Sends without an entry until a socket is the server's other business.
const STRANGE: u32 = 8;

/// Sockets, addresses and events beyond which none are remembered.
const MOST: usize = 1024;

/// A response entry that went well is its request's last: one of another device would be told within that time, ns.
const DONE: Nanos = 1_000_000_000;

/// What a socket that the server opened is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Audit entries.
    Audit,
    /// Anything else.
    Other,
}

/// What a told event means for routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It has been kept in the kernel too, or matters to nobody.
    Nothing,
    /// This audit socket takes what is written to it, or is connected.
    Works(SocketId),
    /// It does not yet.
    Waits(SocketId),
    /// Nobody waits by it, but all is not well while such things happen.
    Odd,
    /// Something does not go well.
    Trouble,
}

/// What is known of the server's own sockets.
#[derive(Debug, Default)]
pub struct Roles {
    /// And since when the kernel side knows it too.
    known: HashMap<SocketId, (Role, Nanos)>,
    strange: HashMap<SocketId, u32>,
    /// Sockets that did not take all of what was written last.
    short: HashSet<SocketId>,
    /// Where sockets lead that are no audit sockets, and where those do that are.
    others: HashSet<Device>,
    devices: HashSet<Device>,
}

impl Roles {
    /// Takes an event that was told; also says what its socket has turned out to be, where that is news.
    /// `holding`: whether routine is held back, so that this was told for a reason. `now`: when what it has turned out to
    /// be is passed on.
    pub fn see(
        &mut self,
        event: &Event,
        holding: bool,
        now: Nanos,
    ) -> (Sight, Option<(SocketId, Role)>) {
        match &event.what {
            EventKind::Send {
                socket,
                result,
                requested,
                entry,
                ..
            } if !socket.accepted => {
                let before = self.known.get(&socket.id).copied();
                let is_known = matches!(before, Some((Role::Audit, since)) if event.at > since);
                let news = self.learn(socket, entry.is_some(), now);
                let whole = took_all(*result, *requested);
                let fell_short = (0..).contains(result) || *result == EAGAIN;
                let sight = match (whole, fell_short) {
                    _ if self.is_other(socket.id) => Sight::Nothing,
                    (true, _) if holding && is_known && !self.is_expected(socket.id) => {
                        // What goes well with an audit socket is told only where its peer is silent.
                        Sight::Trouble
                    }
                    (true, _) => Sight::Works(socket.id),
                    (false, true) => Sight::Waits(socket.id),
                    (false, false) => Sight::Trouble,
                };
                self.expect(sight);
                (sight, news)
            }
            EventKind::State {
                socket, old, new, ..
            } if !socket.accepted => {
                let is_other = self.leads_elsewhere(socket);
                let news = (is_other && !self.known.contains_key(&socket.id))
                    .then(|| self.becomes(socket.id, Role::Other, now));
                if *new == TcpState::Close {
                    self.known.remove(&socket.id);
                    self.strange.remove(&socket.id);
                }
                let sight = match (old, new) {
                    _ if is_other => Sight::Nothing,
                    (_, TcpState::SynSent) => Sight::Waits(socket.id),
                    (TcpState::SynSent, TcpState::Established) => Sight::Works(socket.id),
                    _ => Sight::Trouble,
                };
                (sight, news.flatten())
            }
            EventKind::ConnectFailed { socket, .. } if !self.leads_elsewhere(socket) => {
                (Sight::Trouble, None)
            }
            EventKind::Send { .. } | EventKind::Receive { .. } | EventKind::State { .. } => {
                (Sight::Nothing, None)
            }
            _ => {
                let own = event.socket().filter(|socket| !socket.accepted);
                let odd = own.is_some_and(|socket| !self.leads_elsewhere(socket));
                (if odd { Sight::Odd } else { Sight::Nothing }, None)
            }
        }
    }

    fn leads_elsewhere(&self, socket: &Socket) -> bool {
        let device = Device::of(socket);
        self.is_other(socket.id) || device.is_some_and(|device| self.others.contains(&device))
    }

    /// What follows a write that fell short is told.
    fn is_expected(&self, id: SocketId) -> bool {
        self.short.contains(&id)
    }

    fn expect(&mut self, sight: Sight) {
        match sight {
            Sight::Works(id) => {
                self.short.remove(&id);
            }
            Sight::Waits(id) if self.short.len() < MOST => {
                self.short.insert(id);
            }
            _ => {}
        }
    }

    fn learn(&mut self, socket: &Socket, is_entry: bool, now: Nanos) -> Option<(SocketId, Role)> {
        let (id, known) = (socket.id, self.known.get(&socket.id));
        // Of most, that is known: it costs no more.
        if known.is_some_and(|(role, _)| *role == Role::Audit || !is_entry) {
            return None;
        }
        let device = Device::of(socket);
        if is_entry {
            if let Some(device) = device {
                self.others.remove(&device);
                if self.devices.len() < MOST {
                    self.devices.insert(device);
                }
            }
            return self.becomes(id, Role::Audit, now);
        }
        if self.strange.len() >= MOST {
            self.strange.clear();
        }
        let strange = self.strange.entry(id).or_default();
        *strange += 1;
        let is_device = device.as_ref().is_some_and(|d| self.devices.contains(d));
        if *strange < STRANGE || is_device {
            return None;
        }
        if self.others.len() < MOST {
            self.others.extend(device);
        }
        self.becomes(id, Role::Other, now)
    }

    fn is_other(&self, id: SocketId) -> bool {
        matches!(self.known.get(&id), Some((Role::Other, _)))
    }

    fn becomes(&mut self, id: SocketId, role: Role, now: Nanos) -> Option<(SocketId, Role)> {
        if matches!(self.known.get(&id), Some((known, _)) if *known == role) {
            return None;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.strange.remove(&id);
        self.known.insert(id, (role, now));
        Some((id, role))
    }
}

/// The last of what went over a client's connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Last {
    /// What was received: the beginning of a request.
    pub received: Option<Kept>,
    /// What was sent.
    pub sent: Option<Kept>,
}

/// An event that was kept in the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The event.
    pub event: Event,
    /// Whether it was told too, when it happened.
    pub is_told: bool,
}

impl Kept {
    /// Whether the core has to be given it: it was not told, or before routine was held back from `since` on.
    fn is_news(&self, since: Nanos) -> bool {
        !self.is_told || self.event.at < since
    }
}

impl Last {
    /// The goroutine that serves the connection, unless it carries several requests at once. In HTTP/1.1 that is
    /// who reads and answers, but a goroutine that it started may have read already (`net/http`,
    /// `connReader.backgroundRead`).
    pub fn server(&self) -> Option<u64> {
        let reader = self.received.as_ref()?.event.actor()?;
        let writer = self.writer();
        match writer {
            Some(_) if reader.goid != writer => writer.filter(|_| reader.parent == writer),
            _ => reader.goid,
        }
    }

    fn writer(&self) -> Option<u64> {
        self.sent.as_ref()?.event.actor()?.goid
    }

    /// When the last request was received, ns; 0 before the first.
    pub fn asked_at(&self) -> Nanos {
        self.received.as_ref().map_or(0, |kept| kept.event.at)
    }

    /// When something was last sent, ns; 0 before.
    pub fn answered_at(&self) -> Nanos {
        self.sent.as_ref().map_or(0, |kept| kept.event.at)
    }

    /// Whether others than who reads write: only both tell whose connection it is.
    fn is_shared(&self) -> bool {
        let received = self.received.as_ref();
        let reader = received.and_then(|kept| kept.event.actor()?.goid);
        self.writer().is_some() && self.writer() != reader
    }

    /// A request may come together with the end of the handshake, and is not answered by what that is.
    pub fn is_handshake(&self) -> bool {
        let received = self.received.as_ref().map(|kept| &kept.event.what);
        matches!(
            received,
            Some(EventKind::Receive {
                handshake: true,
                ..
            })
        )
    }
}

/// What the core has to be given of what was kept.
#[derive(Debug, Default)]
pub struct Recalled {
    /// First: which connections carry several requests, and who serves them. Without, it would not know whose their
    /// requests are. Of each, the last that was sent and received: that may be newer than what comes next.
    pub shared: Vec<Event>,
    /// What happened, in no order.
    pub events: Vec<Event>,
}

/// What the core has to be given of what was kept from `since` on: of the connections of clients that wait
/// for an answer, or of which more must be known, what was last received and sent, and of the `entries` those of
/// requests that may be under way. Of the others, it is given what their connections owe. What was told
/// itself, and not before `since`, is left out. `now`: when it was fetched.
pub fn recall(
    connections: Vec<Last>,
    entries: Vec<Event>,
    (since, now): (Nanos, Nanos),
) -> Recalled {
    let over = |last: &Last| Some((last.server()?, last.answered_at().max(last.asked_at())));
    let answered: HashMap<u64, Nanos> = connections.iter().filter_map(over).collect();
    let entries = entries.into_iter().map(|entry| {
        let goid = entry.actor().and_then(|by| by.goid);
        let is_over = match goid.and_then(|goid| answered.get(&goid)) {
            Some(answered) => entry.at <= *answered,
            None => is_last(&entry) && entry.at + DONE < now,
        };
        if is_over { logged(entry) } else { entry }
    });
    let mut recalled = Recalled {
        events: entries.collect(),
        ..Recalled::default()
    };
    for last in connections {
        let waits = last.asked_at() > last.answered_at();
        let tells_more = last.is_shared() || last.is_handshake();
        let is_served = last.server().is_some();
        let received = last.received.filter(|_| waits || tells_more);
        let sent = last.sent.filter(|_| tells_more);
        let news = [sent, received].into_iter().flatten();
        let news = news.filter(|kept| kept.is_news(since));
        let news = news.map(|kept| kept.event);
        if tells_more && !is_served {
            recalled.shared.extend(news);
        } else {
            recalled.events.extend(news);
        }
    }
    recalled
}

/// A response entry.
fn is_last(event: &Event) -> bool {
    use tracer_model::EntryKind;
    let EventKind::Send {
        entry: Some(entry), ..
    } = &event.what
    else {
        return false;
    };
    entry.kind == Some(EntryKind::Response)
}

/// The same as its connection alone sees it.
fn logged(event: Event) -> Event {
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
