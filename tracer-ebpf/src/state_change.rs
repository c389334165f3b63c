//! How connections of the server's own come and go.

use crate::protocol::{
    TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
    TCP_LAST_ACK, TCP_TIME_WAIT, is_connecting,
};

/// Longest record of TLS that says that its sender closes the connection (`close_notify`), bytes: 24 in TLS 1.3, 69 in earlier
/// versions with CBC. A request with an entry is longer.
const CLOSE_NOTIFY: u32 = 69;

/// `include/uapi/asm-generic/errno*.h`: what `tcp_reset()` leaves in a socket whose peer has closed it.
pub const EPIPE: i32 = 32;
/// And in others.
const ECONNRESET: i32 = 104;

/// A change of the TCP state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Whether a client opened it.
    pub accepted: bool,
    /// Whether it carries entries within TLS. Who closes such a connection says so to its peer, which may not listen any more.
    pub is_tls: bool,
    /// State before.
    pub old: i32,
    /// State now.
    pub new: i32,
    /// Error of the socket (`sk_err`), 0 without one.
    pub errno: i32,
    /// Sequence numbers that the peer has not acknowledged.
    pub outstanding: u32,
}

impl StateChange {
    /// The RST that the peer of such a connection answers to what comes after it has closed.
    #[inline(always)]
    pub const fn by_reset(is_tls: bool, old: i32, outstanding: u32) -> Self {
        Self {
            accepted: false,
            is_tls,
            old,
            new: TCP_CLOSE,
            errno: ECONNRESET,
            outstanding,
        }
    }

    /// Whether it is a failure, and freezes the buffers: a connection of the server's own was not opened, or ends otherwise than in
    /// order.
    #[inline(always)]
    pub const fn freezes(self) -> bool {
        !self.accepted && !self.is_usual()
    }

    /// Whether it is how connections of the server's own come and go, which the agent need not be woken for: it finds a dial that
    /// takes long at its next poll.
    #[inline(always)]
    pub const fn is_usual(self) -> bool {
        is_connecting(self.old, self.new) || self.ends_in_order()
    }

    /// Whether a connection of which everything has been acknowledged ends, on either side: a client of HTTP closes those that it
    /// has not used for a while, and dials again.
    #[inline(always)]
    pub const fn ends_in_order(self) -> bool {
        // The end itself takes a sequence number.
        let owed = match self.old {
            TCP_ESTABLISHED | TCP_CLOSE_WAIT => 0,
            TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_LAST_ACK | TCP_CLOSING => 1,
            TCP_TIME_WAIT => u32::MAX - CLOSE_NOTIFY,
            _ => return false,
        };
        let said = if self.is_tls { CLOSE_NOTIFY } else { 0 };
        let is_well = self.errno == 0 || self.is_unheard();
        // Where it is not known what is outstanding, it is all.
        is_well && (self.outstanding <= owed + said || self.old == TCP_TIME_WAIT)
    }

    /// Whether the peer, which had closed the connection before or was told that it is closed, answers by a RST.
    #[inline(always)]
    pub const fn is_unheard(self) -> bool {
        let is_closing = matches!(
            self.old,
            TCP_CLOSE_WAIT | TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_LAST_ACK | TCP_CLOSING
        );
        self.is_tls && is_closing && matches!(self.errno, EPIPE | ECONNRESET)
    }

    /// Whether the peer's RST harms nobody.
    #[inline(always)]
    pub const fn is_harmless_reset(self) -> bool {
        self.is_unheard() && self.ends_in_order()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TCP_SYN_SENT;

    /// Before, after, errno and outstanding; whether that freezes, and whether it does within TLS.
    const CHANGES: [(i32, i32, i32, u32, bool, bool); 25] = [
        (TCP_CLOSE, TCP_SYN_SENT, 0, 0, false, false),
        (TCP_SYN_SENT, TCP_ESTABLISHED, 0, 0, false, false),
        (TCP_SYN_SENT, TCP_CLOSE, 0, 1, true, true),
        (TCP_SYN_SENT, TCP_CLOSE, 111, 1, true, true),
        (TCP_ESTABLISHED, TCP_FIN_WAIT1, 0, 0, false, false),
        (TCP_FIN_WAIT1, TCP_FIN_WAIT2, 0, 1, false, false),
        (TCP_TIME_WAIT, TCP_CLOSE, 0, u32::MAX, false, false),
        (TCP_ESTABLISHED, TCP_CLOSE_WAIT, 0, 0, false, false),
        (TCP_LAST_ACK, TCP_CLOSE, 0, 1, false, false),
        (TCP_ESTABLISHED, TCP_FIN_WAIT1, 0, 1, true, false),
        (TCP_CLOSE_WAIT, TCP_LAST_ACK, 0, 5000, true, true),
        (TCP_FIN_WAIT1, TCP_CLOSE, 0, 2, true, false),
        (TCP_ESTABLISHED, TCP_CLOSE, 104, 0, true, true),
        // It is not known what was acknowledged.
        (TCP_ESTABLISHED, TCP_FIN_WAIT1, 0, u32::MAX, true, true),
        (TCP_LAST_ACK, TCP_CLOSE, 104, u32::MAX, true, true),
        // `close_notify`, and a RST in answer to it.
        (TCP_CLOSE_WAIT, TCP_LAST_ACK, 0, 24, true, false),
        (TCP_ESTABLISHED, TCP_FIN_WAIT1, 0, 69, true, false),
        (TCP_ESTABLISHED, TCP_FIN_WAIT1, 0, 70, true, true),
        (TCP_LAST_ACK, TCP_CLOSE, 104, 25, true, false),
        (TCP_FIN_WAIT1, TCP_CLOSE, 104, 25, true, false),
        (TCP_CLOSE_WAIT, TCP_CLOSE, 32, 24, true, false),
        (TCP_CLOSE_WAIT, TCP_CLOSE, 32, 900, true, true),
        (TCP_ESTABLISHED, TCP_CLOSE, 104, 24, true, true),
        // Retransmitted for long, no route.
        (TCP_LAST_ACK, TCP_CLOSE, 110, 25, true, true),
        (TCP_FIN_WAIT1, TCP_CLOSE, 113, 25, true, true),
    ];

    #[test]
    fn what_ends_otherwise_than_in_order_freezes() {
        for (old, new, errno, outstanding, plain, within_tls) in CHANGES {
            for (is_tls, expected) in [(false, plain), (true, within_tls)] {
                let change = |accepted| StateChange {
                    accepted,
                    is_tls,
                    old,
                    new,
                    errno,
                    outstanding,
                };
                assert_eq!(change(false).freezes(), expected, "{:?}", change(false));
                assert!(!change(true).freezes());
            }
        }
    }

    #[test]
    fn only_who_was_told_of_the_end_may_answer_with_a_reset() {
        for (is_tls, old, outstanding, expected) in [
            (true, TCP_CLOSE_WAIT, 24, true),
            (true, TCP_LAST_ACK, 25, true),
            (true, TCP_FIN_WAIT2, 1, true),
            (true, TCP_ESTABLISHED, 0, false),
            (true, TCP_CLOSE_WAIT, 900, false),
            (false, TCP_CLOSE_WAIT, 0, false),
            (false, TCP_LAST_ACK, 1, false),
        ] {
            let change = StateChange::by_reset(is_tls, old, outstanding);
            assert_eq!(change.is_harmless_reset(), expected, "{change:?}");
        }
    }
}
