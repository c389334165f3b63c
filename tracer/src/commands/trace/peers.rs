//! Who connects to the ports on which the server listens, and where the active node of its cluster is.

use std::{collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use anyhow::Result;
use log::debug;
use tracer_ebpf::capture::Peers;

use super::answers::Goroutines;
use crate::{
    server::{
        goroutines::{PollUse, PolledSocket},
        sockets::{self, OpenSocket},
    },
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
        decided.extend(decide(open, &polled(goroutines)));
    }
    let of = |port| (port, decided.get(&port).copied().unwrap_or(Peers::Clients));
    ports.into_iter().map(of).collect()
}

/// Where the active node of the cluster listens to this one, if that is certain: this server's only connection to a gRPC server
/// by TCP, or the only one to the port that it keeps for other nodes itself.
pub(super) fn active_node(pid: i32, goroutines: &Goroutines) -> Option<String> {
    let open = sockets::open_sockets(pid).ok()?;
    let polled = polled(goroutines);
    let decided = decide(&open, &polled);
    let read = polled.iter().filter(|of| of.used == PollUse::ReadsGrpc);
    let remote = read.filter_map(|of| {
        let mut open = open.iter();
        open.find(|socket| socket.fd == of.descriptor && socket.established)
    });
    let mut remote: Vec<_> = remote.map(|socket| socket.remote).collect();
    remote.sort_unstable();
    remote.dedup();
    let is_for_nodes = |to: &&SocketAddr| decided.get(&to.port()) == Some(&Peers::Nodes);
    let meant: Vec<_> = remote.iter().filter(is_for_nodes).copied().collect();
    match (&remote[..], &meant[..]) {
        ([only], _) | (_, [only]) => Some(only.to_string()),
        _ => None,
    }
}

fn polled(goroutines: &Goroutines) -> Vec<PolledSocket> {
    let polled = goroutines.reader.polled_sockets(&goroutines.memory);
    polled.unwrap_or_else(|error| {
        debug!("the server's listeners could not be read this time: {error}");
        Vec::new()
    })
}

/// The ports on which a goroutine accepts connections. One that clients use by another address is theirs.
fn decide(open: &[OpenSocket], polled: &[PolledSocket]) -> BTreeMap<u16, Peers> {
    let mut decided = BTreeMap::new();
    for socket in open.iter().filter(|socket| socket.listening) {
        let of = polled.iter().find(|of| of.descriptor == socket.fd);
        let peers = match of.map(|of| of.used) {
            Some(PollUse::AcceptsClients) => Peers::Clients,
            Some(PollUse::AcceptsNodes) => Peers::Nodes,
            Some(PollUse::ReadsGrpc) | None => continue,
        };
        let known = decided.entry(socket.local.port()).or_insert(peers);
        if peers == Peers::Clients {
            *known = peers;
        }
    }
    decided
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
                decide(&open, &polled(goroutines))
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
    use super::*;

    fn listener(fd: i32, local: &str) -> OpenSocket {
        OpenSocket {
            fd,
            inode: 0,
            local: local.parse().expect("an address"),
            remote: "0.0.0.0:0".parse().expect("an address"),
            listening: true,
            established: false,
        }
    }

    fn polled(descriptor: i32, used: PollUse) -> PolledSocket {
        PolledSocket { descriptor, used }
    }

    #[test]
    fn a_port_is_the_nodes_only_if_clients_have_no_listener_there() {
        use PollUse::{AcceptsClients, AcceptsNodes, ReadsGrpc};
        let open = [
            listener(3, "127.0.0.1:8200"),
            listener(4, "127.0.0.1:8201"),
            listener(5, "10.0.0.1:8201"),
            listener(6, "10.0.0.1:8300"),
        ];
        for (waiting, expected) in [
            (vec![], vec![]),
            (
                vec![(3, AcceptsClients), (4, AcceptsNodes)],
                vec![(8200, Peers::Clients), (8201, Peers::Nodes)],
            ),
            (
                vec![(5, AcceptsClients), (4, AcceptsNodes)],
                vec![(8201, Peers::Clients)],
            ),
            (
                vec![(4, AcceptsClients), (5, AcceptsNodes)],
                vec![(8201, Peers::Clients)],
            ),
            // A descriptor that was closed meanwhile, and one that does not listen.
            (vec![(9, AcceptsNodes), (6, ReadsGrpc)], vec![]),
        ] {
            let waiting: Vec<_> = waiting
                .iter()
                .map(|(fd, used)| polled(*fd, *used))
                .collect();
            let decided: Vec<_> = decide(&open, &waiting).into_iter().collect();
            assert_eq!(decided, expected, "{waiting:?}");
        }
    }

    #[test]
    fn without_stacks_all_ports_are_the_clients() {
        let open = [listener(3, "127.0.0.1:8200"), listener(4, "[::1]:8200")];
        assert_eq!(of_listeners(&open, None), [(8200, Peers::Clients)]);
    }
}
