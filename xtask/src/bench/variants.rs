//! What is measured beside each other: data.

use super::peers::{PEERS, Peer};

/// One way to look at the server.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Its name, for `--only` and the table.
    pub name: &'static str,
    /// What it is, and what it tells.
    pub what: &'static str,
    /// How it is begun.
    pub how: How,
}

/// How a variant is begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Not at all: what differs from the untraced server beside it is the noise of the method.
    Nothing,
    /// `vault-tracer trace --probes WAY`, with or without `--record`.
    Agent { probes: &'static str, record: bool },
    /// Programs that return at once, on what `--probes WAY` hangs on.
    Empty { probes: &'static str },
    /// What somebody without us would take.
    Peer(&'static Peer),
}

const fn agent(name: &'static str, probes: &'static str, record: bool) -> Variant {
    Variant {
        name,
        what: if record {
            "hangs, their causes, the requests; each event to a file (--record)"
        } else {
            "hangs, their causes, the requests"
        },
        how: How::Agent { probes, record },
    }
}

const fn empty(name: &'static str, probes: &'static str) -> Variant {
    Variant {
        name,
        what: "nothing: the price of being called on the same hooks",
        how: How::Empty { probes },
    }
}

/// Best first: the first that this kernel has is the one that the targets are for.
const OWN: [Variant; 13] = [
    Variant {
        name: "untraced",
        what: "nothing: the noise of this measurement",
        how: How::Nothing,
    },
    agent("socket", "socket", false),
    agent("socket+record", "socket", true),
    empty("socket-empty", "socket"),
    agent("function", "function", false),
    agent("function+record", "function", true),
    empty("function-empty", "function"),
    agent("kprobe", "kprobe", false),
    agent("kprobe+record", "kprobe", true),
    empty("kprobe-empty", "kprobe"),
    agent("syscall", "syscall", false),
    agent("syscall+record", "syscall", true),
    empty("syscall-empty", "syscall"),
];

/// All there are.
pub fn all() -> Vec<Variant> {
    let peers = PEERS.iter().map(|peer| Variant {
        name: peer.name,
        what: peer.tells,
        how: How::Peer(peer),
    });
    OWN.into_iter().chain(peers).collect()
}

/// In another order each round, so that none always follows the same one.
pub fn order(variants: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..variants).collect();
    // A step of a third brings those of one family apart from where they were.
    let step = variants.div_ceil(3).max(1);
    order.rotate_left((round * step + round / 3) % variants.max(1));
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_not_ambiguous() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|variant| variant.name).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn each_round_has_all_in_another_order() {
        let rounds: BTreeSet<_> = (0..6).map(|round| order(10, round)).collect();
        assert_eq!(rounds.len(), 6);
        for order in rounds {
            let each: BTreeSet<_> = order.iter().copied().collect();
            assert_eq!(each, (0..10).collect());
        }
        assert_eq!(order(1, 3), [0]);
    }
}
