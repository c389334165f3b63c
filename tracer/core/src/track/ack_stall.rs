//! A peer that acknowledges nothing any more, before anybody notices: writes go into the send buffer
//! and succeed, until it is full and everything hangs. This is why the seed's `big-kv` is needed, and
//! what an operator can be warned of.

use tracer_model::FillingBuffer;
use tracer_model::{Device, Nanos, Tcp};

/// Longer than any delayed ACK (`TCP_DELACK_MAX`, 200 ms) and the first retransmissions, ns.
const SILENT: Nanos = 1_000_000_000;

/// Once more when this part of the buffer is used, in percent.
const NEARLY_FULL: u64 = 80;

/// One connection's silence.
#[derive(Debug, Default)]
pub(crate) struct AckStall {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    /// What was acknowledged last.
    una: u32,
    since: Nanos,
    /// When that was seen last.
    seen: Nanos,
    /// The queue then, bytes.
    queued: u32,
    told: u64,
}

impl AckStall {
    /// The connection after a write.
    pub(crate) fn observe(&mut self, at: Nanos, tcp: &Tcp) {
        let outstanding = tcp.end != tcp.una;
        if !outstanding {
            self.current = None;
        } else if let Some(current) = self.current.as_mut().filter(|c| c.una == tcp.una) {
            // Records of two processors may change places.
            current.seen = current.seen.max(at);
        } else {
            self.current = Some(Current {
                una: tcp.una,
                since: at,
                seen: at,
                queued: tcp.queued.unwrap_or(0),
                told: 0,
            });
        }
    }

    /// Since when nothing more was acknowledged of what is outstanding, as the connection is now. What was sent last may have been
    /// acknowledged since.
    pub(crate) fn since(&self, tcp: &Tcp) -> Option<Nanos> {
        let current = self.current.as_ref();
        let current = current.filter(|current| current.una == tcp.una)?;
        Some(current.since)
    }

    /// Since when nothing more was acknowledged by the last write, if that has been seen to last for so long that it can be told.
    pub(crate) fn long_since(&self) -> Option<Nanos> {
        let current = self.current.as_ref()?;
        (current.seen - current.since >= SILENT).then_some(current.since)
    }

    /// Whether it has lasted for longer than acknowledgements take.
    pub(crate) fn is_long(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.seen - current.since >= SILENT / 4)
    }

    /// A warning, if one is due: at first, and when the buffer is nearly full.
    pub(crate) fn warn(&mut self, at: Nanos, device: &Device, tcp: &Tcp) -> Option<FillingBuffer> {
        let since = self.since(tcp)?;
        let lasted = at.checked_sub(since).filter(|lasted| *lasted >= SILENT)?;
        let (queued, limit) = (u64::from(tcp.queued?), u64::from(tcp.limit?));
        let current = self.current.as_mut()?;
        let nearly = queued * 100 >= limit * NEARLY_FULL;
        if current.told > u64::from(nearly) {
            return None;
        }
        current.told = 1 + u64::from(nearly);
        let grown = queued.saturating_sub(u64::from(current.queued));
        Some(FillingBuffer {
            device: device.clone(),
            at,
            since,
            queued,
            limit,
            rate: grown.saturating_mul(1_000_000_000) / lasted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_model::Transport;

    const S: Nanos = 1_000_000_000;

    fn tcp(una: u32, end: u32) -> Tcp {
        Tcp {
            una,
            nxt: end,
            end,
            queued: Some(end - una),
            limit: Some(100_000),
            ..Tcp::default()
        }
    }

    fn warnings(story: &[(Nanos, Tcp)]) -> Vec<FillingBuffer> {
        let device = Device::new(Transport::Tcp, "10.77.0.2:1515");
        let mut silence = AckStall::default();
        let mut step = |(at, tcp): &(Nanos, Tcp)| {
            silence.observe(*at, tcp);
            silence.warn(*at, &device, tcp)
        };
        story.iter().filter_map(&mut step).collect()
    }

    #[test]
    fn a_write_that_was_seen_too_late_is_no_silence() {
        let told = warnings(&[
            (5 * S, tcp(0, 10)),
            (3 * S, tcp(0, 20)),
            (4 * S, tcp(7, 20)),
        ]);
        assert_eq!(told, []);
        let mut stall = AckStall::default();
        stall.observe(5 * S, &tcp(0, 10));
        stall.observe(3 * S, &tcp(0, 20));
        assert!(!stall.is_long() && stall.long_since().is_none());
    }

    #[test]
    fn warns_once_and_again_when_nearly_full() {
        let story = [
            (0, tcp(0, 10_000)),
            (S / 2, tcp(0, 15_000)),
            (2 * S, tcp(0, 30_000)),
            (3 * S, tcp(0, 40_000)),
            (8 * S, tcp(0, 90_000)),
            (9 * S, tcp(0, 95_000)),
        ];
        let warnings = warnings(&story);
        let seen: Vec<_> = warnings.iter().map(|w| (w.at / S, w.queued)).collect();
        assert_eq!(seen, [(2, 30_000), (8, 90_000)]);
        assert_eq!(warnings[0].rate, 10_000);
        assert_eq!(warnings[0].full_in(), Some(7 * S));
    }

    #[test]
    fn acknowledged_writes_are_no_silence_however_rare() {
        let story = [
            (0, tcp(0, 10_000)),
            (60 * S, tcp(10_000, 20_000)),
            (120 * S, tcp(20_000, 30_000)),
        ];
        assert!(warnings(&story).is_empty());
    }
}
