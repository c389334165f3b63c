//! One connection that the server opened: who waits for it, and what is known of it meanwhile.

use std::net::SocketAddr;

use crate::track::{
    ack_stall::AckStall,
    identities::Identities,
    packet_marks::{Mark, Marks},
    socket_events::errno,
    unacked::UnackedEntries,
};
use tracer_model::{
    Actor, Device, EntryHead, Evidence, LostEntries, Nanos, Op, Operation, Outcome, Phase, Socket,
    SocketId, Tcp, Transport,
};

#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) device: Option<Device>,
    /// The transport and address of the socket whose `device` this is.
    end: Option<(Transport, Option<SocketAddr>)>,
    /// Local and remote end, from when the server closed it on.
    pub(crate) ends: Option<(SocketAddr, SocketAddr)>,
    pub(crate) waiting: Option<SocketWait>,
    pub(crate) marks: Marks,
    pub(crate) ack_stall: AckStall,
    pub(crate) ledger: UnackedEntries,
    /// The entry that was last sent to an HTTP server, with who wrote it: the answer is yet to come.
    pub(crate) unanswered: Option<(Actor, EntryHead)>,
    /// The error of the attempt to connect, as the socket's state has shown it.
    pub(crate) connect_error: Option<i32>,
    /// When it ended, and what TCP knew then.
    pub(crate) gone: Option<(Nanos, Option<Tcp>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct SocketWait {
    pub(crate) device: Device,
    /// Of the socket: that of a device with a URL is another.
    pub(crate) transport: Transport,
    /// Where the socket leads on the network.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) op: Op,
    pub(crate) by: Actor,
    pub(crate) start: Nanos,
    /// When it was last known to wait.
    pub(crate) seen: Nanos,
    /// Since events were lost, its end perhaps among them: how many looks in a row have not found it.
    pub(crate) missed: Option<u32>,
    pub(crate) entry: Option<EntryHead>,
    pub(crate) begin: Option<Tcp>,
    pub(crate) silent_since: Option<Nanos>,
    /// For which entry, as found.
    pub(crate) phase: Option<Phase>,
    /// Functions on the stack of who waits, as found.
    pub(crate) frames: Vec<String>,
    /// Whether the stall has been reported of.
    pub(crate) reported: bool,
}

/// How an operation ended.
#[derive(Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub(crate) at: Nanos,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) errno: Option<i32>,
    pub(crate) tcp: Option<&'a Tcp>,
}

impl Ending<'_> {
    /// How it would end if nothing more were to be seen of it.
    pub(crate) fn cut(at: Nanos) -> Self {
        Self {
            at,
            outcome: None,
            errno: None,
            tcp: None,
        }
    }

    /// What waited went on to something else by then.
    pub(crate) fn given_up(at: Nanos) -> Self {
        Self {
            outcome: Some(Outcome::Timeout),
            errno: Some(errno::EAGAIN),
            ..Self::cut(at)
        }
    }
}

impl Connection {
    /// When a sample last found who waits, if one did.
    pub(crate) fn sampled_until(&self) -> Option<Nanos> {
        let waiting = self.waiting.as_ref()?;
        (waiting.seen > waiting.start).then_some(waiting.seen)
    }

    /// Whether somebody waits who may have ceased to, since records were lost.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.missed.is_some())
    }

    /// Until when who waits certainly did so: where records were lost, until it was last seen.
    pub(crate) fn waits_until(&self, now: Nanos) -> Nanos {
        let waiting = self.waiting.as_ref();
        let in_doubt = waiting.filter(|waiting| waiting.missed.is_some());
        in_doubt.map_or(now, |waiting| waiting.seen.min(now))
    }

    /// Takes where its socket leads.
    pub(crate) fn leads_to(&mut self, socket: &Socket, identities: &Identities) {
        let end = Some((socket.transport, socket.remote));
        if self.end != end || self.device.is_none() || socket.remote.is_none() {
            self.device = identities.of(socket);
            self.end = end;
        }
    }

    /// What was known by the one address is the other device's.
    pub(crate) fn rename(&mut self, from: &Device, to: &Device) {
        let waited_for = self.waiting.as_mut().map(|waiting| &mut waiting.device);
        let devices = self.device.iter_mut().chain(waited_for);
        for device in devices.filter(|device| **device == *from) {
            device.clone_from(to);
        }
    }

    /// This address is the device's, and not the one's that it was taken for. Returns since when somebody waits for it, and who.
    pub(crate) fn correct(&mut self, address: &Device, device: &Device) -> Option<(Nanos, Actor)> {
        let is_there = |transport: Transport, remote: Option<SocketAddr>| {
            remote.is_some_and(|remote| Device::new(transport, remote.to_string()) == *address)
        };
        let end = self.end;
        if end.is_some_and(|(transport, to)| is_there(transport, to)) {
            self.device = Some(device.clone());
        }
        let waiting = self.waiting.as_mut();
        let waiting = waiting.filter(|waiting| is_there(waiting.transport, waiting.remote))?;
        waiting.device.clone_from(device);
        Some((waiting.start, waiting.by))
    }

    pub(crate) fn retransmitted(&self) -> Mark {
        match self.waiting {
            Some(SocketWait {
                op: Op::Connect, ..
            }) => Mark::SynRetransmit,
            _ => Mark::Retransmit,
        }
    }

    pub(crate) fn finish(&mut self, socket: SocketId, end: Ending<'_>) -> Option<Operation> {
        let operation = self.so_far(socket, end)?;
        self.waiting = None;
        Some(operation)
    }

    /// What waits, as if it ended like this.
    pub(crate) fn so_far(&self, socket: SocketId, end: Ending<'_>) -> Option<Operation> {
        let waiting = self.waiting.clone()?;
        Some(Operation {
            evidence: Evidence {
                begin: waiting.begin,
                end: end.tcp.copied(),
                silent_since: waiting.silent_since,
                frames: waiting.frames,
                ..self.marks.evidence(waiting.start)
            },
            socket: Some(socket),
            outcome: end.outcome,
            errno: end.errno,
            entry: waiting.entry,
            phase: waiting.phase,
            ..Operation::new(
                waiting.op,
                waiting.device,
                waiting.by,
                (waiting.start, end.at),
            )
        })
    }

    pub(crate) fn loss(&self) -> Option<LostEntries> {
        let (at, tcp) = self.gone.as_ref()?;
        let loss = self.ledger.gone(*at, self.device.as_ref()?, tcp.as_ref())?;
        Some(self.with_marks(loss))
    }

    fn with_marks(&self, loss: LostEntries) -> LostEntries {
        LostEntries {
            answers_dropped: self.marks.answers_dropped(),
            ..loss
        }
    }

    /// Whether the server has not closed it, nor its peer.
    pub(crate) fn is_open(&self) -> bool {
        self.gone.is_none() && !self.ledger.is_closed()
    }

    /// Whether the server has closed it, and the kernel has not given it up: it may try for minutes.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.gone.is_none() && self.ledger.is_closed()
    }

    pub(crate) fn pending(&self, at: Nanos) -> Option<LostEntries> {
        let loss = self.ledger.pending(at, self.device.as_ref()?)?;
        Some(self.with_marks(loss))
    }

    /// Whether it is not known yet what it has lost.
    pub(crate) fn is_unsettled(&self) -> bool {
        let device = self.device.as_ref();
        device.is_some_and(|device| self.ledger.undelivered(0, device).is_some())
    }
}
