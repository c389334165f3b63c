//! Who takes what the server sends, and keeps nothing of it.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
    thread,
};

use anyhow::Result;
use lab::Namespace;

/// Until the process ends.
fn take_all(mut from: impl Read + Send + 'static) {
    thread::spawn(move || std::io::copy(&mut from, &mut std::io::sink()));
}

pub(crate) fn tcp(namespace: &Namespace, at: SocketAddr) -> Result<()> {
    let listener = namespace.run(|| Ok(TcpListener::bind(at)?))?;
    thread::spawn(move || {
        listener.incoming().map_while(Result::ok).for_each(take_all);
    });
    Ok(())
}

pub(crate) fn udp(namespace: &Namespace, at: SocketAddr) -> Result<()> {
    let socket = namespace.run(|| Ok(UdpSocket::bind(at)?))?;
    thread::spawn(move || while socket.recv(&mut [0]).is_ok() {});
    Ok(())
}

pub(crate) fn unix(at: &Path) -> Result<()> {
    let listener = UnixListener::bind(at)?;
    thread::spawn(move || {
        listener.incoming().map_while(Result::ok).for_each(take_all);
    });
    Ok(())
}

pub(crate) fn syslog(at: &Path) -> Result<()> {
    let socket = UnixDatagram::bind(at)?;
    thread::spawn(move || while socket.recv(&mut [0]).is_ok() {});
    Ok(())
}
