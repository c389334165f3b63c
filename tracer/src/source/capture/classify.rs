//! Classifies events while the programs buffer: which are normal, and which end buffering. For that it learns which
//! of the server's own sockets carry audit entries.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use tracer_ebpf::{
    abi::UNKNOWN,
    capture::Role,
    protocol::SendOutcome,
    state_change::{EPIPE, StateChange},
};
use tracer_model::{
    Device, EntryHead, Event, EventKind, Nanos, Socket, SocketId, Tcp, TcpState, Transport,
    took_all,
};

/// Sends without an entry to one address after which the sockets that lead there are [`Role::Other`]: a login dials anew each
/// time and sends less.
const SENDS_WITHOUT_ENTRY: u32 = 8;

/// Most sockets and addresses that are remembered.
const CAPACITY: usize = 1024;

/// What an event means for buffering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It is in the kernel's buffers too, or concerns no audit device.
    Normal,
    /// This audit socket takes what is written to it, or is connected.
    Progress(SocketId),
    /// This audit socket does not take it yet, or is not connected yet.
    Blocked(SocketId),
    /// It blocks nobody, but buffering does not begin while such events happen: a retransmit, a dropped packet.
    Anomaly,
    /// A write or a connection failed: buffering ends.
    Failure,
}

/// A role that the programs do not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Of this socket.
    Socket(SocketId, Role),
    /// Of sockets that lead there.
    Destination((Transport, SocketAddr), Role),
    /// Sockets that lead there and send requests that begin so carry audit entries: see [`EntryHead::request_hash`].
    EntryRequest(SocketAddr, u64),
}

/// Roles of the server's own sockets, as far as they are known.
#[derive(Debug, Default)]
pub struct SocketRoles {
    /// With the time from which on the programs know the role too, ns.
    known: HashMap<SocketId, (Role, Nanos)>,
    /// By where they led.
    sends_without_entry: HashMap<Device, u32>,
    /// Sockets whose last write was not complete.
    short: HashSet<SocketId>,
    /// Sockets whose end within TLS has begun in order: their peers may answer it by a RST.
    ending: HashSet<SocketId>,
    /// Remote ends of sockets of each role.
    audit_devices: HashSet<Device>,
    others: HashSet<Device>,
}

impl SocketRoles {
    /// Takes an event that was sent to the agent. Returns its class, and roles that are new.
    /// `buffering`: whether the programs sent it although they buffer. `now`: when they will know a new role, ns.
    pub fn observe(&mut self, event: &Event, buffering: bool, now: Nanos) -> (Class, Vec<News>) {
        let news = self.learn(event, now);
        let class = self.classify(event, buffering);
        self.remember(event, class);
        (class, news)
    }

    /// The class of an event, given what has been learned.
    pub fn classify(&self, event: &Event, buffering: bool) -> Class {
        match &event.what {
            EventKind::Send {
                socket,
                result,
                requested,
                ..
            } if !socket.accepted => {
                let outcome = SendOutcome::of(*result, requested.unwrap_or(UNKNOWN));
                self.classify_send(socket.id, outcome, event.at, buffering)
            }
            EventKind::State { socket, .. } if !socket.accepted => {
                let change = state_change(&event.what, self.is_within_tls(socket));
                change.map_or(Class::Normal, |change| self.classify_state(socket, change))
            }
            EventKind::Send { .. } | EventKind::Receive { .. } | EventKind::State { .. } => {
                Class::Normal
            }
            EventKind::DevicesFailed { .. } => Class::Failure,
            _ => match event.socket().filter(|socket| self.may_be_audit(socket)) {
                Some(socket) => self.classify_other(&event.what, socket),
                None => Class::Normal,
            },
        }
    }

    fn classify_other(&self, what: &EventKind, socket: &Socket) -> Class {
        match what {
            EventKind::ConnectFailed { .. } => Class::Failure,
            EventKind::Rejected { .. } if self.is_audit(socket) => Class::Failure,
            EventKind::Reset { .. } | EventKind::SocketError { errno: EPIPE, .. }
                if self.ending.contains(&socket.id) =>
            {
                Class::Normal
            }
            _ => Class::Anomaly,
        }
    }

    /// Whether it leads to an audit device, and no entry was seen on it.
    fn is_within_tls(&self, socket: &Socket) -> bool {
        let device = Device::of(socket);
        self.role(socket.id) != Role::Audit
            && device.is_some_and(|device| self.audit_devices.contains(&device))
    }

    /// Of a connection that the programs recognized no entry may have been seen here.
    fn is_audit(&self, socket: &Socket) -> bool {
        let device = Device::of(socket);
        self.role(socket.id) == Role::Audit
            || device.is_some_and(|device| self.audit_devices.contains(&device))
    }

    fn classify_send(
        &self,
        id: SocketId,
        outcome: SendOutcome,
        at: Nanos,
        buffering: bool,
    ) -> Class {
        match outcome {
            _ if self.role(id) == Role::Other => Class::Normal,
            // The programs buffer what an audit socket takes, unless its peer acknowledges nothing.
            SendOutcome::Complete if buffering && self.is_buffered(id, at) => Class::Failure,
            SendOutcome::Complete => Class::Progress(id),
            SendOutcome::Short => Class::Blocked(id),
            SendOutcome::Failed => Class::Failure,
        }
    }

    fn classify_state(&self, socket: &Socket, change: StateChange) -> Class {
        if self.leads_elsewhere(socket) {
            Class::Normal
        } else if change.freezes() {
            Class::Failure
        } else if change.new == TcpState::SynSent as i32 {
            Class::Blocked(socket.id)
        } else {
            Class::Progress(socket.id)
        }
    }

    fn may_be_audit(&self, socket: &Socket) -> bool {
        !socket.accepted && !self.leads_elsewhere(socket)
    }

    fn leads_elsewhere(&self, socket: &Socket) -> bool {
        let device = Device::of(socket);
        self.role(socket.id) == Role::Other
            || device.is_some_and(|device| self.others.contains(&device))
    }

    fn role(&self, id: SocketId) -> Role {
        self.known.get(&id).map_or(Role::Unknown, |(role, _)| *role)
    }

    /// Whether the programs knew at that time that they buffer complete writes to this socket. They send the write
    /// after one that fell short.
    fn is_buffered(&self, id: SocketId, at: Nanos) -> bool {
        let known = self.known.get(&id);
        known.is_some_and(|(role, since)| *role == Role::Audit && at > *since)
            && !self.short.contains(&id)
    }

    fn learn(&mut self, event: &Event, now: Nanos) -> Vec<News> {
        match &event.what {
            EventKind::Send { socket, entry, .. } if !socket.accepted => {
                self.learn_from_send(socket, entry.as_ref(), now)
            }
            EventKind::State { socket, .. } if self.may_be_other(socket) => {
                vec![self.set_role(socket.id, Role::Other, now)]
            }
            _ => Vec::new(),
        }
    }

    fn may_be_other(&self, socket: &Socket) -> bool {
        !socket.accepted && self.leads_elsewhere(socket) && !self.known.contains_key(&socket.id)
    }

    fn learn_from_send(
        &mut self,
        socket: &Socket,
        entry: Option<&EntryHead>,
        now: Nanos,
    ) -> Vec<News> {
        match (self.role(socket.id), entry) {
            (Role::Audit, _) | (Role::Other, None) => Vec::new(),
            (_, Some(entry)) => {
                let mut news = self.audit(Device::of(socket));
                news.push(self.set_role(socket.id, Role::Audit, now));
                let request = socket.remote.zip(entry.request_hash);
                news.extend(request.map(|(remote, hash)| News::EntryRequest(remote, hash)));
                news
            }
            (Role::Unknown | Role::Device, None) => self.learn_from_send_without_entry(socket, now),
        }
    }

    fn learn_from_send_without_entry(&mut self, socket: &Socket, now: Nanos) -> Vec<News> {
        let device = Device::of(socket).filter(|device| !self.audit_devices.contains(device));
        let Some(device) = device else {
            return Vec::new();
        };
        if !self.others.contains(&device) {
            if self.sends_without_entry.len() >= CAPACITY {
                self.sends_without_entry.clear();
            }
            let sends = self.sends_without_entry.entry(device.clone());
            let sends = sends.or_default();
            *sends += 1;
            if *sends < SENDS_WITHOUT_ENTRY {
                return Vec::new();
            }
            self.sends_without_entry.remove(&device);
            insert(&mut self.others, device);
            let of_socket = self.set_role(socket.id, Role::Other, now);
            let of_all = |remote| News::Destination((socket.transport, remote), Role::Other);
            return vec![socket.remote.map_or(of_socket, of_all)];
        }
        vec![self.set_role(socket.id, Role::Other, now)]
    }

    /// These are where audit devices are, whether or not entries can be seen on their way there. Returns roles that are new.
    pub fn audit(&mut self, devices: impl IntoIterator<Item = Device>) -> Vec<News> {
        let mut news = Vec::new();
        let mut is_wrong = false;
        for device in devices {
            is_wrong |= self.others.remove(&device);
            self.sends_without_entry.remove(&device);
            if !insert(&mut self.audit_devices, device.clone()) {
                continue;
            }
            let remote = device.address.parse();
            let leads = |remote| News::Destination((device.transport, remote), Role::Device);
            news.extend(remote.map(leads));
        }
        if is_wrong {
            let is_other = |_: &SocketId, known: &mut (Role, Nanos)| known.0 == Role::Other;
            let others = self.known.extract_if(is_other);
            news.extend(others.map(|(id, _)| News::Socket(id, Role::Unknown)));
        }
        news
    }

    fn set_role(&mut self, id: SocketId, role: Role, now: Nanos) -> News {
        if self.known.len() >= CAPACITY {
            self.known.clear();
        }
        self.known.insert(id, (role, now));
        News::Socket(id, role)
    }

    fn remember(&mut self, event: &Event, class: Class) {
        match (&event.what, class) {
            (EventKind::Send { .. }, Class::Progress(id)) => {
                self.short.remove(&id);
            }
            (EventKind::Send { .. }, Class::Blocked(id)) => {
                insert(&mut self.short, id);
            }
            (EventKind::State { socket, new, .. }, _) if *new == TcpState::Close => {
                self.known.remove(&socket.id);
            }
            (EventKind::State { socket, .. }, _) if !socket.accepted => {
                let change = state_change(&event.what, self.is_within_tls(socket));
                if change.is_some_and(|change| change.is_tls && change.ends_in_order()) {
                    self.ends(socket.id);
                }
            }
            _ => {}
        }
    }

    fn ends(&mut self, id: SocketId) {
        if self.ending.len() >= CAPACITY {
            self.ending.clear();
        }
        self.ending.insert(id);
    }
}

/// A change of a connection's state, as the programs decide about it.
pub fn state_change(what: &EventKind, is_tls: bool) -> Option<StateChange> {
    let EventKind::State {
        socket,
        old,
        new,
        errno,
        tcp,
        ..
    } = what
    else {
        return None;
    };
    let outstanding = |tcp: &Tcp| tcp.end.wrapping_sub(tcp.una);
    Some(StateChange {
        accepted: socket.accepted,
        is_tls,
        old: *old as i32,
        new: *new as i32,
        errno: *errno,
        outstanding: tcp.as_ref().map_or(u32::MAX, outstanding),
    })
}

pub(super) fn has_entry(event: &Event) -> bool {
    matches!(&event.what, EventKind::Send { entry: Some(_), .. })
}

pub(super) fn is_complete_entry(event: &Event) -> bool {
    is_complete_write(event) && has_entry(event)
}

pub(super) fn is_over_http(event: &Event) -> bool {
    let EventKind::Send { entry, .. } = &event.what else {
        return false;
    };
    entry.as_ref().is_some_and(|entry| entry.over_http)
}

pub(super) fn is_complete_write(event: &Event) -> bool {
    match &event.what {
        EventKind::Send {
            result, requested, ..
        } => took_all(*result, *requested),
        _ => false,
    }
}

/// Whether it is new, and there was room.
fn insert<T: Eq + std::hash::Hash>(set: &mut HashSet<T>, value: T) -> bool {
    set.len() < CAPACITY && set.insert(value)
}

#[cfg(test)]
mod tests;
