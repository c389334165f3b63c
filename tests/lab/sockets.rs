//! What the kernel says about a process's TCP sockets.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tracer_proc::{Process, TcpEntry, TcpState};

use crate::wait;

const LIMIT: Duration = Duration::from_secs(20);

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

/// Waits until the server has closed all connections that clients opened to this port: by then it has returned from its last
/// send. Over the loopback an answer arrives before that.
pub fn wait_for_last_answer(pid: u32, port: u16) -> Result<()> {
    let is_open = |socket: &TcpEntry| {
        let state = matches!(socket.state, TcpState::Established | TcpState::CloseWait);
        state && socket.local.port() == port
    };
    wait::until(
        "the server to close its clients' connections",
        LIMIT,
        || Ok((!tcp(pid)?.iter().any(is_open)).then_some(())),
    )
}
