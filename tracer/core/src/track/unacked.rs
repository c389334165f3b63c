//! The entries that a socket has accepted and its peer has not acknowledged: what is lost if the
//! connection dies over them. Vault takes an entry for logged once the socket has accepted it.

use std::collections::{HashSet, VecDeque};
use tracer_model::LostEntries;

use tracer_model::{Device, EntryHead, Nanos, Tcp};

/// Entries kept per socket. A send buffer of 4 MB, the kernel's usual maximum, holds fewer.
const ENTRIES: usize = 1 << 14;

/// What one connection owes its peer.
#[derive(Debug, Default)]
pub(crate) struct UnackedEntries {
    entries: VecDeque<UnackedEntry>,
    /// Where the first entry of the trace begins.
    first: Option<u32>,
    /// Behind the last byte, and what was acknowledged, when the server closed the socket: the FIN
    /// that follows counts as a byte too.
    closed: Option<(Nanos, Tcp)>,
    /// What its send queue held when the trace ended, that FIN included, bytes.
    queue: Option<(Nanos, u32)>,
}

#[derive(Debug)]
struct UnackedEntry {
    end: u32,
    id: Option<String>,
    whole: bool,
}

/// Whether sequence number `a` lies behind `b` (`include/net/tcp.h`, `after`).
fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

impl UnackedEntries {
    /// `bytes` of `requested` were accepted, and the connection is now as `tcp` says.
    pub(crate) fn wrote(
        &mut self,
        bytes: u64,
        requested: Option<u64>,
        entry: Option<&EntryHead>,
        tcp: &Tcp,
    ) {
        let whole = requested.is_some_and(|wanted| bytes >= wanted);
        if let Some(entry) = entry {
            self.first.get_or_insert(tcp.end.wrapping_sub(bytes as u32));
            self.push(UnackedEntry {
                end: tcp.end,
                id: entry.id.clone(),
                whole,
            });
        } else if let Some(last) = self.entries.back_mut().filter(|last| !last.whole) {
            last.end = tcp.end;
            last.whole = whole;
        }
        while self
            .entries
            .front()
            .is_some_and(|first| !after(first.end, tcp.una))
        {
            self.entries.pop_front();
        }
    }

    fn push(&mut self, written: UnackedEntry) {
        if self.entries.len() == ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(written);
    }

    /// The server closes the socket; the kernel goes on trying to deliver for a while.
    pub(crate) fn closed(&mut self, at: Nanos, tcp: Option<&Tcp>) {
        self.closed = tcp.map(|tcp| (at, *tcp));
    }

    /// What the send queue of the closed connection holds now.
    pub(crate) fn holds(&mut self, at: Nanos, bytes: u32) {
        self.queue = Some((at, bytes));
    }

    /// Whether the server has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// The connection is gone.
    pub(crate) fn gone(
        &self,
        at: Nanos,
        device: &Device,
        tcp: Option<&Tcp>,
    ) -> Option<LostEntries> {
        let last = tcp?;
        let (closed, end) = match &self.closed {
            Some((closed, tcp)) => (*closed, tcp.end),
            None => (at, last.end),
        };
        let loss = self.loss(at, device, last.una, end)?;
        Some(LostEntries { closed, ..loss })
    }

    /// The trace ends; the kernel may still be trying.
    pub(crate) fn pending(&self, at: Nanos, device: &Device) -> Option<LostEntries> {
        let (closed, tcp) = self.closed.as_ref()?;
        let behind_fin = tcp.end.wrapping_add(1);
        let (as_of, una) = match self.queue {
            Some((at, bytes)) => (at, behind_fin.wrapping_sub(bytes)),
            None => (*closed, tcp.una),
        };
        let loss = self.loss(at, device, una, tcp.end)?;
        Some(LostEntries {
            closed: *closed,
            pending: true,
            as_of,
            ..loss
        })
    }

    fn loss(&self, at: Nanos, device: &Device, una: u32, end: u32) -> Option<LostEntries> {
        let first = self.first.filter(|_| after(end, una))?;
        let lost = || self.entries.iter().filter(|entry| after(entry.end, una));
        Some(LostEntries {
            device: device.clone(),
            at,
            closed: at,
            bytes: u64::from(end.wrapping_sub(una)),
            entries: lost().filter(|entry| entry.whole).count() as u64,
            requests: ids(lost().filter(|entry| entry.whole)),
            complete: !after(first, una) && self.entries.len() < ENTRIES,
            pending: false,
            as_of: at,
            answers_dropped: false,
        })
    }
}

/// Each once: a request has two entries.
fn ids<'a>(entries: impl Iterator<Item = &'a UnackedEntry>) -> Vec<String> {
    let mut seen = HashSet::new();
    let ids = entries.filter_map(|entry| entry.id.as_ref());
    ids.filter(|id| seen.insert(*id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_model::Transport;

    fn device() -> Device {
        Device::new(Transport::Tcp, "10.77.0.2:1515")
    }

    fn entry(id: &str) -> EntryHead {
        EntryHead {
            id: Some(id.to_owned()),
            ..EntryHead::default()
        }
    }

    fn tcp(una: u32, end: u32) -> Tcp {
        Tcp {
            una,
            nxt: end,
            end,
            ..Tcp::default()
        }
    }

    /// Two entries around the point where sequence numbers begin again.
    fn ledger() -> UnackedEntries {
        let mut ledger = UnackedEntries::default();
        ledger.wrote(100, Some(100), Some(&entry("a")), &tcp(u32::MAX - 99, 0));
        ledger.wrote(50, Some(100), Some(&entry("b")), &tcp(u32::MAX - 99, 50));
        ledger.wrote(50, Some(50), None, &tcp(u32::MAX - 99, 100));
        ledger
    }

    #[test]
    fn what_was_not_acknowledged_is_lost() {
        let loss = ledger().gone(1, &device(), Some(&tcp(u32::MAX - 99, 100)));
        let loss = loss.expect("a loss");
        assert_eq!((loss.bytes, loss.entries, loss.complete), (200, 2, true));
        assert_eq!(loss.requests, ["a", "b"]);
    }

    #[test]
    fn what_was_acknowledged_is_not() {
        let loss = ledger()
            .gone(1, &device(), Some(&tcp(0, 100)))
            .expect("a loss");
        assert_eq!(
            (loss.bytes, loss.requests.as_slice()),
            (100, &["b".to_owned()][..])
        );
        assert_eq!(ledger().gone(1, &device(), Some(&tcp(100, 100))), None);
    }

    #[test]
    fn the_fin_is_no_byte_of_an_entry() {
        let mut ledger = ledger();
        ledger.closed(1, Some(&tcp(u32::MAX - 99, 100)));
        assert_eq!(ledger.gone(1, &device(), Some(&tcp(100, 101))), None);
    }

    #[test]
    fn what_is_pending_is_told_as_of_the_close_or_of_the_end() {
        let mut ledger = ledger();
        ledger.closed(1, Some(&tcp(u32::MAX - 99, 100)));
        let pending = ledger.pending(9, &device()).expect("a loss");
        assert_eq!((pending.bytes, pending.entries, pending.as_of), (200, 2, 1));
        ledger.holds(8, 101);
        let pending = ledger.pending(9, &device()).expect("a loss");
        assert_eq!((pending.bytes, pending.entries, pending.as_of), (100, 1, 8));
        assert_eq!(pending.requests, ["b"]);
        ledger.holds(8, 1); // the FIN alone
        assert_eq!(ledger.pending(9, &device()), None);
    }

    #[test]
    fn half_an_entry_is_bytes_but_no_entry() {
        let mut ledger = UnackedEntries::default();
        ledger.wrote(40, Some(100), Some(&entry("a")), &tcp(0, 40));
        let loss = ledger
            .gone(1, &device(), Some(&tcp(0, 40)))
            .expect("a loss");
        assert_eq!((loss.bytes, loss.entries, loss.requests.len()), (40, 0, 0));
    }

    #[test]
    fn says_that_more_was_lost_than_seen() {
        let mut ledger = UnackedEntries::default();
        ledger.wrote(100, Some(100), Some(&entry("a")), &tcp(1000, 5000));
        let loss = ledger
            .gone(1, &device(), Some(&tcp(1000, 5000)))
            .expect("a loss");
        assert_eq!((loss.bytes, loss.entries, loss.complete), (4000, 1, false));
    }
}
