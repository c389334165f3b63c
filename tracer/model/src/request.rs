//! What identifies a request, and what ties an operation to it.

/// Names a request for the length of a trace: the server's goroutines outlive their requests.
pub type RequestSeq = u64;

/// What ties a stall to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// The goroutine that reads and answers the request did it.
    Goroutine,
    /// A goroutine did it that was started by the one serving the client's connection.
    Lineage,
    /// The entry that was being written says so; nothing is known of a client.
    Payload,
    /// It never reached the device itself: its goroutine was seen waiting for the device's lock.
    Queued,
}

impl Attribution {
    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Attribution::Goroutine => "goroutine",
            Attribution::Lineage => "lineage",
            Attribution::Payload => "payload",
            Attribution::Queued => "queued",
        }
    }
}
