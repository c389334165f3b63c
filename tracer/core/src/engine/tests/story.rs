//! Events in the making, for the core's tests.

use std::net::SocketAddr;

use crate::{Core, Query};
use tracer_model::{
    Actor, EntryHead, EntryKind, Event, EventKind, Nanos, Probe, Session, Socket, SocketId,
    TcpState, Transport,
};
use tracer_model::{
    Device, EntryQuery, Finding, GoroutineSample, Hang, Incident, Phase, Refusal, Stalled, Summary,
    WaitReason,
};

pub(super) const MS: Nanos = 1_000_000;
pub(super) const S: Nanos = 1_000 * MS;
pub(super) const EAGAIN: i64 = -11;
pub(super) const LOG: &str = "10.77.0.2:1515";
pub(super) const CLIENT: &str = "127.0.0.1:50222";

/// Events in the making, with a clock of their own.
pub(super) struct Story {
    pub(super) now: Nanos,
    pub(super) core: Core,
    pub(super) findings: Vec<Finding>,
    pub(super) queries: Vec<EntryQuery>,
}

impl Story {
    pub(super) fn new() -> Self {
        Self::of(Vec::new())
    }

    /// The errors in the server's log can be read.
    pub(super) fn with_log() -> Self {
        Self::of(vec![Probe {
            hook: "os.(*File).Write".to_owned(),
            kind: "uprobe".to_owned(),
        }])
    }

    fn of(probes: Vec<Probe>) -> Self {
        let mut story = Self {
            now: 1_000 * S,
            core: Core::new(),
            findings: Vec::new(),
            queries: Vec::new(),
        };
        story.happens(EventKind::Session(Session {
            threshold: 100 * MS,
            stacks: true,
            probes,
            ..Session::default()
        }));
        story.findings.clear();
        story
    }

    pub(super) fn happens(&mut self, what: EventKind) -> &mut Self {
        let step = self.core.on(&Event { at: self.now, what });
        self.findings.extend(step.findings);
        self.queries.extend(
            step.queries
                .into_iter()
                .filter_map(|question| match question {
                    Query::Entry(question) => Some(question),
                    Query::Goroutines | Query::FileSize(_) => None,
                }),
        );
        self
    }

    /// The audit files say nothing of what was asked for first.
    pub(super) fn not_found(&mut self) -> &mut Self {
        self.finds(None)
    }

    /// The same for all that was asked for.
    pub(super) fn nothing_is_found(&mut self) -> &mut Self {
        while !self.queries.is_empty() {
            self.not_found();
        }
        self
    }

    /// The answer to the first question.
    pub(super) fn finds(&mut self, entry: Option<EntryHead>) -> &mut Self {
        let asked = self.queries.remove(0);
        self.happens(EventKind::EntryFound { asked, entry })
    }

    pub(super) fn after(&mut self, time: Nanos) -> &mut Self {
        self.now += time;
        self
    }

    pub(super) fn requested(&mut self, goid: u64) -> &mut Self {
        self.happens(EventKind::Receive {
            socket: client_socket(goid),
            by: goroutine(goid),
            bytes: 100,
            handshake: false,
        })
    }

    pub(super) fn answered(&mut self, goid: u64) -> &mut Self {
        self.sends(client_socket(goid), goid, (500, 500), None)
    }

    pub(super) fn sends(
        &mut self,
        socket: Socket,
        goid: u64,
        (result, requested): (i64, u64),
        entry: Option<EntryHead>,
    ) -> &mut Self {
        self.happens(EventKind::Send {
            socket,
            by: goroutine(goid),
            result,
            requested: Some(requested),
            entry,
            tcp: None,
            status: None,
        })
    }

    /// A whole entry, taken by the send buffer at once.
    pub(super) fn logs(&mut self, socket: u64, goid: u64, kind: EntryKind) -> &mut Self {
        self.sends(log_socket(socket), goid, (900, 900), Some(entry(kind)))
    }

    pub(super) fn state(
        &mut self,
        socket: Socket,
        goid: u64,
        old: TcpState,
        new: TcpState,
    ) -> &mut Self {
        self.happens(EventKind::State {
            socket,
            by: Some(goroutine(goid)),
            old,
            new,
            errno: 0,
            tcp: None,
        })
    }

    pub(super) fn connects(&mut self, socket: u64, goid: u64) -> &mut Self {
        self.state(log_socket(socket), goid, TcpState::Close, TcpState::SynSent)
    }

    pub(super) fn gives_up_connecting(&mut self, socket: u64, goid: u64) -> &mut Self {
        self.state(log_socket(socket), goid, TcpState::SynSent, TcpState::Close)
    }

    pub(super) fn gives_up_writing(&mut self, socket: u64, goid: u64) -> &mut Self {
        self.state(
            log_socket(socket),
            goid,
            TcpState::Established,
            TcpState::FinWait1,
        )
    }

    /// Two dials of 2 s, as one entry on a device that is not connected.
    pub(super) fn dials_twice(&mut self, first_socket: u64, goid: u64) -> &mut Self {
        for socket in first_socket..first_socket + 2 {
            self.connects(socket, goid);
            self.after(2 * S).gives_up_connecting(socket, goid);
        }
        self
    }

    pub(super) fn hangs(&self) -> Vec<&Hang> {
        let mut hangs = Vec::new();
        for finding in &self.findings {
            if let Finding::Hang(hang) = finding {
                hangs.push(hang.as_ref());
            }
        }
        hangs
    }

    pub(super) fn refusals(&self) -> Vec<&Refusal> {
        let refusals = self.findings.iter().filter_map(|finding| match finding {
            Finding::Refusal(refusal) => Some(refusal.as_ref()),
            _ => None,
        });
        refusals.collect()
    }

    pub(super) fn incidents(&self) -> Vec<&Incident> {
        let incidents = self.findings.iter().filter_map(|finding| match finding {
            Finding::Incident(incident) => Some(incident),
            _ => None,
        });
        incidents.collect()
    }

    /// The trace ends so many half seconds later: what had settled by then, and what had not.
    pub(super) fn incidents_after(&mut self, half_seconds: usize) -> Vec<Incident> {
        for _ in 0..half_seconds {
            self.after(S / 2).happens(EventKind::Tick);
        }
        self.happens(EventKind::End);
        self.incidents().into_iter().cloned().collect()
    }

    pub(super) fn stalled(&self) -> Vec<&Stalled> {
        let stalled = self.findings.iter().filter_map(|finding| match finding {
            Finding::Stalled(stalled) => Some(stalled.as_ref()),
            _ => None,
        });
        stalled.collect()
    }

    pub(super) fn summary(&mut self) -> Summary {
        self.happens(EventKind::End);
        match self.findings.pop() {
            Some(Finding::Summary(summary)) => summary,
            other => panic!("the last finding is {other:?}"),
        }
    }
}

pub(super) fn goroutine(goid: u64) -> Actor {
    Actor {
        tid: 7,
        goid: Some(goid),
        parent: Some(1),
    }
}

pub(super) fn socket(born: Nanos, accepted: bool, remote: &str) -> Socket {
    Socket {
        id: SocketId { born, slot: 0 },
        fd: Some(9),
        accepted,
        transport: Transport::Tcp,
        local: None,
        remote: Some(remote.parse().expect("an address")),
        path: None,
    }
}

pub(super) fn log_socket(number: u64) -> Socket {
    socket(number, false, LOG)
}

pub(super) fn client_socket(goid: u64) -> Socket {
    let mut address: SocketAddr = CLIENT.parse().expect("an address");
    address.set_port(50_000 + goid as u16);
    socket(10_000 + goid, true, &address.to_string())
}

pub(super) fn entry(kind: EntryKind) -> EntryHead {
    EntryHead {
        kind: Some(kind),
        id: Some("id-1".to_owned()),
        operation: Some("read".to_owned()),
        path: Some("sys/mounts".to_owned()),
        ..EntryHead::default()
    }
}

/// What an operator reads: `write 2.0, connect 2.0 | connect 2.0, connect 2.0`.
pub(super) fn chain(hang: &Hang) -> String {
    let phase = |phase| {
        let of_phase = hang.stalls.iter().filter(|stall| stall.phase == phase);
        let links: Vec<_> = of_phase
            .map(|s| {
                format!(
                    "{} {:.1}",
                    s.op.name(),
                    tracer_format::text::seconds(s.duration)
                )
            })
            .collect();
        links.join(", ")
    };
    format!("{} | {}", phase(Phase::Request), phase(Phase::Response))
}

/// The request that meets the full buffer, up to its answer.
pub(super) fn classic(story: &mut Story) {
    story.requested(20).after(MS);
    story.sends(
        log_socket(1),
        20,
        (EAGAIN, 900),
        Some(entry(EntryKind::Request)),
    );
    story.after(2 * S).gives_up_writing(1, 20);
    story
        .connects(2, 20)
        .after(2 * S)
        .gives_up_connecting(2, 20);
    story.dials_twice(3, 20).after(MS).answered(20);
}

pub(super) fn parked(
    goid: u64,
    place: WaitReason,
    phase: Option<Phase>,
    device: Option<Device>,
) -> GoroutineSample {
    GoroutineSample {
        goid,
        ancestors: Vec::new(),
        request: None,
        place,
        since: None,
        phase,
        device,
        frames: Vec::new(),
        entry: None,
    }
}

/// Makes the device known, as a server's earlier entries do.
pub(super) fn known_device(story: &mut Story) {
    story.requested(5).logs(1, 5, EntryKind::Request);
    story.logs(1, 5, EntryKind::Response).answered(5);
    story.findings.clear();
}

/// An entry of the request with this id.
pub(super) fn named(id: &str, kind: EntryKind) -> EntryHead {
    EntryHead {
        id: Some(id.to_owned()),
        ..entry(kind)
    }
}
