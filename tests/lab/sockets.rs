//! What the kernel says about a process's TCP sockets.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tracer_proc::{Process, TcpEntry};

/// The TCP sockets in the network namespace of `pid`, whichever process there owns them.
pub fn tcp(pid: u32) -> Result<Vec<TcpEntry>> {
    let sockets = Process::new(pid as i32).tcp();
    sockets.with_context(|| format!("cannot read the sockets of process {pid}"))
}

/// The connections, in whatever state, from the namespace of `pid` to `remote`.
pub fn tcp_to(pid: u32, remote: SocketAddr) -> Result<Vec<TcpEntry>> {
    Ok(tcp(pid)?
        .into_iter()
        .filter(|socket| socket.remote == remote)
        .collect())
}
