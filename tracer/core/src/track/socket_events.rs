//! The two kinds of events that operations are made of, as views of an event.

use tracer_model::{Actor, EntryHead, Event, EventKind, Nanos, Socket, Tcp, TcpState, took_all};

/// A send that returned.
pub(crate) struct Sent<'a> {
    pub(crate) at: Nanos,
    pub(crate) socket: &'a Socket,
    pub(crate) by: Actor,
    pub(crate) result: i64,
    pub(crate) requested: Option<u64>,
    pub(crate) entry: Option<&'a EntryHead>,
    pub(crate) tcp: Option<&'a Tcp>,
}

/// A change of a TCP state.
pub(crate) struct StateChange<'a> {
    pub(crate) at: Nanos,
    pub(crate) socket: &'a Socket,
    pub(crate) by: Actor,
    pub(crate) old: TcpState,
    pub(crate) new: TcpState,
    pub(crate) errno: i32,
    pub(crate) tcp: Option<&'a Tcp>,
}

impl<'a> Sent<'a> {
    /// Of sockets that the server opened.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        match &event.what {
            EventKind::Send {
                socket,
                by,
                result,
                requested,
                entry,
                tcp,
                ..
            } if !socket.accepted => Some(Self {
                at: event.at,
                socket,
                by: *by,
                result: *result,
                requested: *requested,
                entry: entry.as_ref(),
                tcp: tcp.as_ref(),
            }),
            _ => None,
        }
    }

    /// Of what was kept in the kernel; whoever did it has done with it.
    pub(crate) fn buffered(event: &'a Event) -> Option<Self> {
        match &event.what {
            EventKind::BufferedWrite {
                socket,
                bytes,
                requested,
                entry,
                tcp,
            } => Some(Self {
                at: event.at,
                socket,
                by: Actor::default(),
                result: i64::try_from(*bytes).unwrap_or(i64::MAX),
                requested: *requested,
                entry: entry.as_ref(),
                tcp: tcp.as_ref(),
            }),
            _ => None,
        }
    }

    pub(crate) fn failure(&self) -> Option<i32> {
        let errno = self.result.checked_neg()?;
        i32::try_from(errno).ok().filter(|errno| *errno > 0)
    }

    /// Whether it failed for good.
    pub(crate) fn is_final(&self) -> bool {
        self.failure()
            .is_some_and(|failure| failure != errno::EAGAIN)
    }

    pub(crate) fn is_whole(&self) -> bool {
        took_all(self.result, self.requested)
    }
}

impl<'a> StateChange<'a> {
    /// Of sockets that the server opened.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        match &event.what {
            EventKind::State {
                socket,
                by,
                old,
                new,
                errno,
                tcp,
            } if !socket.accepted => Some(Self {
                at: event.at,
                socket,
                by: by.unwrap_or_default(),
                old: *old,
                new: *new,
                errno: *errno,
                tcp: tcp.as_ref(),
            }),
            _ => None,
        }
    }
}

/// `include/uapi/asm-generic/errno*.h`, as far as operations are told apart by them.
pub(crate) mod errno {
    pub(crate) const EAGAIN: i32 = 11;
    pub(crate) const EPIPE: i32 = 32;
    pub(crate) const ECONNRESET: i32 = 104;
    pub(crate) const ETIMEDOUT: i32 = 110;
    pub(crate) const ECONNREFUSED: i32 = 111;
    pub(crate) const EINPROGRESS: i32 = 115;
}
