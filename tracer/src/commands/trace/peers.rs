//! Who connects to the ports on which the server listens: decided before the trace begins, and for new ports while it runs.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;
use log::debug;
use tracer_ebpf::capture::Peers;

use super::{answers::Goroutines, listeners::decide};
use crate::{
    server::sockets::{self, OpenSocket},
    source::listening::ListeningPorts,
};
use tracer_model::Nanos;

/// How often a port is looked at before the trace begins, and the pause in between: a goroutine that accepts connections is
/// sometimes on the move.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// From the call of `listen` to when the server accepts, ns. A port on which nobody was seen to accept by then is its clients'.
const PATIENCE: Nanos = 2_000_000_000;

/// Pause between two looks while the trace runs, ns.
const PAUSE_WHILE_TRACING: Nanos = 100_000_000;

/// The ports of a server while it is traced.
pub(super) struct PortDecisions {
    ports: ListeningPorts,
    /// When it began to listen on a port that is undecided, and when that was last looked at.
    undecided: Option<(Nanos, Nanos)>,
}

/// For each port on which the server listens, who connects there. What cannot be found out is its clients'.
pub(super) fn of_listeners(
    open: &[OpenSocket],
    goroutines: Option<&Goroutines>,
) -> Vec<(u16, Peers)> {
    let mut decided = BTreeMap::new();
    let listening = open.iter().filter(|socket| socket.listening);
    let mut ports: Vec<_> = listening.map(|socket| socket.local.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    for look in 0..LOOKS {
        let Some(goroutines) = goroutines.filter(|_| decided.len() < ports.len()) else {
            break;
        };
        if look > 0 {
            thread::sleep(PAUSE);
        }
        decided.extend(decide(open, &goroutines.polled_sockets()));
    }
    let of = |port| (port, decided.get(&port).copied().unwrap_or(Peers::Clients));
    ports.into_iter().map(of).collect()
}

impl PortDecisions {
    pub(super) fn new(ports: ListeningPorts) -> Self {
        Self {
            ports,
            undecided: None,
        }
    }

    /// Decides on ports on which the server has begun to listen. Its connections there are left out until then.
    pub(super) fn update(
        &mut self,
        now: Nanos,
        pid: i32,
        goroutines: Option<&Goroutines>,
    ) -> Result<()> {
        let undecided = self.ports.undecided();
        if undecided.is_empty() {
            self.undecided = None;
            return Ok(());
        }
        let (since, looked) = self.undecided.unwrap_or((now, 0));
        if now.saturating_sub(looked) < PAUSE_WHILE_TRACING {
            return Ok(());
        }
        self.undecided = Some((since, now));
        let is_over = goroutines.is_none() || now.saturating_sub(since) >= PATIENCE;
        let decided = match goroutines {
            // Empty where the server has ended.
            Some(goroutines) => {
                let open = sockets::open_sockets(pid).unwrap_or_default();
                decide(&open, &goroutines.polled_sockets())
            }
            None => BTreeMap::new(),
        };
        for port in undecided {
            let fallback = is_over.then_some(Peers::Clients);
            if let Some(peers) = decided.get(&port).copied().or(fallback) {
                debug!("port {port}: {peers:?}");
                self.ports.decide(port, peers)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::listeners::tests::listener, *};

    #[test]
    fn without_stacks_all_ports_are_the_clients() {
        let open = [listener(3, "127.0.0.1:8200"), listener(4, "[::1]:8200")];
        assert_eq!(of_listeners(&open, None), [(8200, Peers::Clients)]);
    }
}
