//! What happened to the packets of one socket lately.

use std::collections::VecDeque;

use tracer_model::{DropKind, Dropped, Evidence, Nanos};

/// A write that meets a full buffer was doomed earlier: what happened to the socket's packets this
/// long before it began to wait, ns, still says why. TCP's back-off has reached several seconds by then.
const LOOK_BACK: Nanos = 10_000_000_000;

/// Marks kept per socket; with back-off, many minutes of them.
const MARKS: usize = 64;

/// What happened to a socket's packets lately.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: VecDeque<(Nanos, Mark)>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    /// A SYN was sent again.
    SynRetransmit,
    /// Data was sent again.
    Retransmit,
    /// A packet was dropped.
    Drop(Dropped),
    /// A RST arrived.
    Reset,
    /// The kernel reported this error; 0 where the server had fetched it already.
    Error(i32),
}

impl Marks {
    /// Remembers it.
    pub(crate) fn add(&mut self, at: Nanos, mark: Mark) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((at, mark));
    }

    /// Whether a RST arrived.
    pub(crate) fn reset(&self) -> bool {
        self.marks
            .iter()
            .any(|(_, mark)| matches!(mark, Mark::Reset))
    }

    /// Whether a rule of this host dropped what came back.
    pub(crate) fn answers_dropped(&self) -> bool {
        self.marks.iter().any(
            |(_, mark)| matches!(mark, Mark::Drop(d) if d.incoming && d.kind() == DropKind::Rule),
        )
    }

    /// The last error that the kernel reported.
    pub(crate) fn error(&self) -> Option<i32> {
        self.marks.iter().rev().find_map(|(_, mark)| match mark {
            Mark::Error(errno) => Some(*errno),
            _ => None,
        })
    }

    /// As evidence for a wait that began at `start`.
    pub(crate) fn evidence(&self, start: Nanos) -> Evidence {
        let since = start.saturating_sub(LOOK_BACK);
        let mut evidence = Evidence::default();
        for (at, mark) in self.marks.iter().filter(|(at, _)| *at >= since) {
            match mark {
                Mark::SynRetransmit => evidence.syn_retransmits += 1,
                Mark::Retransmit => {
                    evidence.retransmits += 1;
                    evidence.retransmits_meanwhile += u32::from(*at >= start);
                }
                Mark::Drop(drop) => *evidence.drops.entry(drop.clone()).or_default() += 1,
                Mark::Reset => evidence.reset = true,
                Mark::Error(_) => {}
            }
        }
        evidence
    }
}
