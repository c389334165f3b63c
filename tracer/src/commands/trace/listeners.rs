//! What the goroutines that poll sockets show of a cluster: who connects to a port, and where the active node is.

use std::{collections::BTreeMap, net::SocketAddr};

use tracer_ebpf::capture::Peers;

use crate::server::{
    goroutines::{PollUse, PolledSocket},
    sockets::OpenSocket,
};

/// The ports on which a goroutine accepts connections. One that clients use by another address is theirs.
pub(super) fn decide(open: &[OpenSocket], polled: &[PolledSocket]) -> BTreeMap<u16, Peers> {
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

/// Where the active node of the cluster listens to this one, if that is certain: this server's only connection to a gRPC server
/// by TCP, or the only one to the port that it keeps for other nodes itself.
pub(super) fn active_node(open: &[OpenSocket], polled: &[PolledSocket]) -> Option<String> {
    let decided = decide(open, polled);
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn listener(fd: i32, local: &str) -> OpenSocket {
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
}
