//! What is compared: the agent by each strategy of probing, empty programs on the same hooks, and other tools.

use super::other_tools::{OTHER_TOOLS, OtherTool};

/// One way to observe the server.
#[derive(Clone, Copy)]
pub struct Variant {
    /// For `--only` and the table.
    pub name: &'static str,
    pub reports: &'static str,
    pub launch: Launch,
}

#[derive(Clone, Copy)]
pub enum Launch {
    /// Not at all: the difference to the untraced server beside it is the noise of the method.
    Untraced,
    /// `vault-tracer trace --probes STRATEGY`.
    Agent {
        probes: &'static str,
        records: Records,
    },
    /// Programs that return at once, on the hooks of `--probes STRATEGY`.
    EmptyPrograms {
        probes: &'static str,
    },
    Tool(&'static OtherTool),
}

/// What the agent records beside its trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Records {
    Nothing,
    /// `--flight-recorder`: nothing while all is well, which it is here.
    Hangs,
    /// `--record`.
    Everything,
}

impl Launch {
    /// The agent's strategy of probing that this needs.
    pub fn probes(self) -> Option<&'static str> {
        match self {
            Self::Agent { probes, .. } | Self::EmptyPrograms { probes } => Some(probes),
            Self::Untraced | Self::Tool(_) => None,
        }
    }
}

/// Strategies of probing, best first: the targets are for the first that this kernel supports. With the names of
/// their variants: alone, with `--flight-recorder`, with `--record`, with empty programs.
const STRATEGIES: [[&str; 4]; 4] = [
    ["socket", "socket+flight", "socket+record", "socket-empty"],
    [
        "function",
        "function+flight",
        "function+record",
        "function-empty",
    ],
    ["kprobe", "kprobe+flight", "kprobe+record", "kprobe-empty"],
    [
        "syscall",
        "syscall+flight",
        "syscall+record",
        "syscall-empty",
    ],
];

pub fn all() -> Vec<Variant> {
    let untraced = Variant {
        name: "untraced",
        reports: "nothing: the noise of this measurement",
        launch: Launch::Untraced,
    };
    let tools = OTHER_TOOLS.iter().map(|tool| Variant {
        name: tool.name,
        reports: tool.reports,
        launch: Launch::Tool(tool),
    });
    let own = STRATEGIES.into_iter().flat_map(of_strategy);
    [untraced].into_iter().chain(own).chain(tools).collect()
}

fn of_strategy([probes, flight, record, empty]: [&'static str; 4]) -> [Variant; 4] {
    let variant = |name, reports, launch| Variant {
        name,
        reports,
        launch,
    };
    let agent = |records| Launch::Agent { probes, records };
    [
        variant(probes, "hangs, causes, requests", agent(Records::Nothing)),
        variant(
            flight,
            "the same, and a recording of each hang",
            agent(Records::Hangs),
        ),
        variant(
            record,
            "the same, and each event to a file",
            agent(Records::Everything),
        ),
        variant(
            empty,
            "nothing: the price of being called on the same hooks",
            Launch::EmptyPrograms { probes },
        ),
    ]
}

/// The order of a round. It changes each round, so that no variant always follows the same one.
pub fn order(variants: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..variants).collect();
    // Rotating by a third separates the variants of one strategy from where they were.
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
