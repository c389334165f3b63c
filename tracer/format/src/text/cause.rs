//! Causes in a few words. [`super::explain`] has the sentences.

use tracer_model::Cause;

/// What was seen.
pub fn seen(cause: Cause) -> &'static str {
    match cause {
        Cause::SynUnanswered => "a connection attempt, and nothing that came back",
        Cause::NoAck => "data was sent, sent again, and not acknowledged",
        Cause::ZeroWindow => "the log process does not read, or too slowly: no room at the peer",
        Cause::LocalDrop => "this host itself dropped the packets",
        Cause::Refused => "nothing listens there: a RST to the SYN, or ICMP port unreachable",
        Cause::Reset => "a RST on an established connection",
        Cause::Unreachable => "no route, no neighbour, interface down, or ICMP unreachable",
        Cause::Resolver => "the wait was for the look-up of the device's name",
        Cause::PeerFull => "a Unix socket whose reader does not read",
        Cause::Unknown => "no cause could be shown",
    }
}

/// Where to look, while there is no explanation yet.
pub fn hint(cause: Cause) -> &'static str {
    match cause {
        Cause::SynUnanswered => {
            "nothing answers: is the log server's host up, does a firewall swallow it?"
        }
        Cause::NoAck => "what is sent is not acknowledged: network, firewall, log server's host",
        Cause::ZeroWindow => "the log server does not read, or too slowly",
        Cause::LocalDrop => "this host itself drops the packets: look at its firewall",
        Cause::Refused => "nothing listens there",
        Cause::Reset => "the log server's end reset the connection",
        Cause::Unreachable => "no route, or no neighbour answers",
        Cause::Resolver => "the device's name is being looked up: look at the name server",
        Cause::PeerFull => "the reader of the Unix socket does not read",
        Cause::Unknown => "the cause cannot be told yet",
    }
}
