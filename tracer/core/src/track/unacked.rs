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
    known: Option<KnownBytes>,
    /// Behind the last byte, and what was acknowledged, when the server closed the socket: the FIN
    /// that follows counts as a byte too.
    closed: Option<(Nanos, Tcp)>,
    /// What its send queue held when the trace ended, that FIN included, bytes.
    queue: Option<(Nanos, u32)>,
    /// Records were lost since the server closed it: the kernel may have given it up.
    in_doubt: bool,
}

/// Sequence numbers of the connection between which all was seen that was written.
#[derive(Debug)]
struct KnownBytes {
    /// Where the first entry of the trace begins, or the first write after others that were not seen, or, since sequence numbers
    /// begin again, what was acknowledged by the last write.
    first: u32,
    /// Behind the last byte.
    end: u32,
}

#[derive(Debug)]
struct UnackedEntry {
    end: u32,
    id: Option<String>,
    whole: bool,
    /// A client of HTTP may send it in several parts, each of which is taken whole (`net/http`, `Transport.WriteBufferSize`).
    over_http: bool,
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
        if entry.is_some() || self.known.is_some() {
            self.follow(tcp.end.wrapping_sub(bytes as u32), tcp);
        }
        let is_part = |last: &&mut UnackedEntry| bytes > 0 && (!last.whole || last.over_http);
        if let Some(entry) = entry {
            self.push(UnackedEntry {
                end: tcp.end,
                id: entry.id.clone(),
                whole,
                over_http: entry.over_http,
            });
        } else if let Some(last) = self.entries.back_mut().filter(is_part) {
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

    /// What was written now begins here. Where that lies behind the last byte, there were writes that were not seen.
    fn follow(&mut self, begin: u32, tcp: &Tcp) {
        let known = self.known.get_or_insert(KnownBytes {
            first: begin,
            end: tcp.end,
        });
        if after(begin, known.end) {
            known.first = begin;
        }
        if after(tcp.una, known.first) {
            known.first = tcp.una;
        }
        if after(tcp.end, known.end) {
            known.end = tcp.end;
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

    /// Records were lost, that of the connection's end perhaps among them.
    pub(crate) fn records_lost(&mut self) {
        self.in_doubt = self.is_closed();
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

    /// The trace ends; the kernel may still be trying. After a loss of records only its send queue shows that it is.
    pub(crate) fn pending(&self, at: Nanos, device: &Device) -> Option<LostEntries> {
        let is_shown = !self.in_doubt || self.queue.is_some();
        is_shown.then(|| self.undelivered(at, device))?
    }

    /// What the closed connection held when that was last seen.
    pub(crate) fn undelivered(&self, at: Nanos, device: &Device) -> Option<LostEntries> {
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
        let known = self.known.as_ref().filter(|_| after(end, una))?;
        let is_seen = !after(known.first, una) && !after(end, known.end);
        let lost = || self.entries.iter().filter(|entry| after(entry.end, una));
        Some(LostEntries {
            device: device.clone(),
            at,
            closed: at,
            bytes: u64::from(end.wrapping_sub(una)),
            entries: lost().filter(|entry| entry.whole).count() as u64,
            requests: ids(lost().filter(|entry| entry.whole)),
            complete: is_seen && self.entries.len() < ENTRIES,
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

    #[test]
    fn an_account_is_complete_if_all_was_seen_from_what_was_acknowledged_on() {
        let write = |ledger: &mut UnackedEntries, end: u32, una: u32| {
            ledger.wrote(100, Some(100), Some(&entry("a")), &tcp(una, end));
        };
        for (writes, gone, expected) in [
            (vec![(100, 0), (200, 0)], (0, 200), true),
            // One that was not seen: before the last, acknowledged or not, or behind it.
            (vec![(100, 0), (300, 0)], (0, 300), false),
            (vec![(100, 0), (300, 0)], (200, 300), true),
            (vec![(100, 0), (300, 200)], (200, 300), true),
            (vec![(100, 0)], (0, 200), false),
            // Records of two processors may change places.
            (vec![(100, 0), (200, 100), (150, 0)], (100, 200), true),
        ] {
            let mut ledger = UnackedEntries::default();
            for (end, una) in &writes {
                write(&mut ledger, *end, *una);
            }
            let loss = ledger.gone(1, &device(), Some(&tcp(gone.0, gone.1)));
            let complete = loss.expect("a loss").complete;
            assert_eq!(complete, expected, "{writes:?} {gone:?}");
        }
    }

    /// After 2 GiB on one connection, a sequence number that lay before another one lies behind it.
    #[test]
    fn an_account_stays_complete_however_much_was_written() {
        let half = 1_u32 << 30;
        let mut ledger = UnackedEntries::default();
        ledger.wrote(100, Some(100), Some(&entry("a")), &tcp(0, 100));
        let mut una: u32 = 100;
        for _ in 0..6 {
            let end = una.wrapping_add(half);
            let bytes = u64::from(half);
            ledger.wrote(bytes, Some(bytes), Some(&entry("b")), &tcp(una, end));
            let loss = ledger.gone(1, &device(), Some(&tcp(una, end)));
            assert!(loss.expect("a loss").complete, "{una}");
            una = end;
        }
    }

    /// A client of HTTP sends the first 4,096 bytes, and then the rest.
    #[test]
    fn an_entry_in_two_parts_is_lost_with_either() {
        for (over_http, entries) in [(true, 1), (false, 0)] {
            let mut ledger = UnackedEntries::default();
            let entry = EntryHead {
                over_http,
                ..entry("a")
            };
            ledger.wrote(4096, Some(4096), Some(&entry), &tcp(0, 4096));
            ledger.wrote(3000, Some(3000), None, &tcp(0, 7096));
            let loss = ledger.gone(1, &device(), Some(&tcp(4096, 7096)));
            let loss = loss.expect("a loss");
            assert_eq!((loss.bytes, loss.entries), (3000, entries));
        }
    }
}
