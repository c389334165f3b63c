//! Sockets that the server opened before the probes were attached.

use std::{collections::HashMap, net::SocketAddr};

use anyhow::{Context, Result};

use tracer_model::{SendQueue, canonical};
use tracer_proc::{Process, TcpState};

/// A TCP socket of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenSocket {
    /// Its descriptor.
    pub(crate) fd: i32,
    /// Its inode number.
    pub(crate) inode: u64,
    /// Local address.
    pub(crate) local: SocketAddr,
    /// Remote address; unspecified for listeners.
    pub(crate) remote: SocketAddr,
    /// Whether it accepts connections.
    pub(crate) listening: bool,
    /// Whether it is connected.
    pub(crate) established: bool,
}

/// TCP sockets of the process, in its own network namespace.
pub(crate) fn open_sockets(pid: i32) -> Result<Vec<OpenSocket>> {
    let context = || {
        format!("cannot list the sockets of PID {pid}: it has ended, or belongs to another user")
    };
    let process = Process::new(pid);
    let sockets = process.sockets().with_context(context)?;
    let descriptors: HashMap<u64, i32> =
        sockets.into_iter().map(|(fd, inode)| (inode, fd)).collect();
    let entries = process.tcp().with_context(context)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| {
            Some(OpenSocket {
                fd: *descriptors.get(&entry.inode)?,
                inode: entry.inode,
                local: canonical_address(entry.local),
                remote: canonical_address(entry.remote),
                listening: entry.state == TcpState::Listen,
                established: entry.state == TcpState::Established,
            })
        })
        .collect())
}

/// Send queues of connections that are closed on this side and not yet on the other, in the network namespace of the
/// process: no process has a descriptor of them any more.
pub(crate) fn closing(pid: i32) -> Result<Vec<SendQueue>> {
    let context = || format!("cannot list the connections of PID {pid}: it has ended");
    let entries = Process::new(pid).tcp().with_context(context)?;
    let is_closing = |state: &TcpState| {
        matches!(
            state,
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck
        )
    };
    let entries = entries.iter().filter(|e| is_closing(&e.state));
    let queues = entries.map(|entry| SendQueue {
        local: canonical_address(entry.local),
        remote: canonical_address(entry.remote),
        bytes: entry.send_queue,
    });
    Ok(queues.collect())
}

fn canonical_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(address.ip()), address.port())
}

/// Inode number of the process's network namespace, as the kernel knows it (`net.ns.inum`).
pub(crate) fn netns_inode(pid: i32) -> Result<u64> {
    let namespace = Process::new(pid).namespace("net");
    namespace.with_context(|| format!("cannot read the network namespace of PID {pid}"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn lists_listeners_and_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let _connected = TcpStream::connect(address).expect("connected");
        let sockets = open_sockets(std::process::id() as i32).expect("a list");
        assert!(sockets.iter().any(|s| s.listening && s.local == address));
        assert!(sockets.iter().any(|s| s.established && s.remote == address));
    }

    #[test]
    fn an_ipv4_peer_of_an_ipv6_socket_is_ipv4() {
        let Ok(listener) = TcpListener::bind("[::]:0") else {
            return; // IPv6 is disabled here.
        };
        let port = listener.local_addr().expect("an address").port();
        let client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let accepted = listener.accept().expect("accepted").0;
        let sockets = open_sockets(std::process::id() as i32).expect("a list");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&accepted);
        let seen = sockets.iter().find(|s| s.fd == fd).expect("listed");
        assert_eq!(seen.remote, client.local_addr().expect("an address"));
        assert!(seen.local.is_ipv4(), "{seen:?}");
    }
}
