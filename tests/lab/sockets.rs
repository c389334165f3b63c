//! What the kernel says about a process's TCP sockets.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use procfs::net::TcpState;
use procfs::process::Process;

/// One TCP socket in the network namespace of a process.
#[derive(Debug, Clone)]
pub struct TcpSocket {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// Bytes written that the peer has not acknowledged.
    pub send_queue: u32,
    /// Bytes received that nobody has read.
    pub receive_queue: u32,
}

/// The TCP sockets in the network namespace of `pid`, whichever process there owns them.
pub fn tcp(pid: u32) -> Result<Vec<TcpSocket>> {
    let tables = Process::new(pid as i32).and_then(|process| Ok([process.tcp()?, process.tcp6()?]));
    let tables = tables.with_context(|| format!("cannot read the sockets of process {pid}"))?;
    let socket = |entry: procfs::net::TcpNetEntry| TcpSocket {
        local: entry.local_address,
        remote: entry.remote_address,
        state: entry.state,
        send_queue: entry.tx_queue,
        receive_queue: entry.rx_queue,
    };
    Ok(tables.into_iter().flatten().map(socket).collect())
}

/// The connections, in whatever state, from the namespace of `pid` to `remote`.
pub fn tcp_to(pid: u32, remote: SocketAddr) -> Result<Vec<TcpSocket>> {
    Ok(tcp(pid)?
        .into_iter()
        .filter(|socket| socket.remote == remote)
        .collect())
}
