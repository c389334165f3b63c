//! The two kinds of events that operations are made of, as views of an event.

use super::errno;
use tracer_model::{Actor, EntryHead, Event, EventKind, Nanos, Socket, Tcp, TcpState, took_all};

/// A send that returned.
pub(super) struct Sent<'a> {
    pub(super) at: Nanos,
    pub(super) socket: &'a Socket,
    pub(super) by: Actor,
    pub(super) result: i64,
    pub(super) requested: Option<u64>,
    pub(super) entry: Option<&'a EntryHead>,
    pub(super) tcp: Option<&'a Tcp>,
}

/// A state that change.
pub(super) struct Changed<'a> {
    pub(super) at: Nanos,
    pub(super) socket: &'a Socket,
    pub(super) by: Actor,
    pub(super) old: TcpState,
    pub(super) new: TcpState,
    pub(super) errno: i32,
    pub(super) tcp: Option<&'a Tcp>,
}

impl<'a> Sent<'a> {
    /// Of sockets that the server opened.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
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
    pub(super) fn logged(event: &'a Event) -> Option<Self> {
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

    pub(super) fn failure(&self) -> Option<i32> {
        let errno = self.result.checked_neg()?;
        i32::try_from(errno).ok().filter(|errno| *errno > 0)
    }

    /// Whether it failed for good.
    pub(super) fn is_last(&self) -> bool {
        self.failure()
            .is_some_and(|failure| failure != errno::EAGAIN)
    }

    pub(super) fn is_whole(&self) -> bool {
        took_all(self.result, self.requested)
    }
}

impl<'a> Changed<'a> {
    /// Of sockets that the server opened.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
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
