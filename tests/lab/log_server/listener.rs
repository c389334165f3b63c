//! One shape for the kinds of socket that a log server may have.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use anyhow::{Result, bail};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{
    TcpListener, TcpSocket, TcpStream, UdpSocket, UnixListener, UnixSocket, UnixStream,
};

use crate::audit::Endpoint;

/// Where connections come from.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    Datagrams(UdpSocket),
}

/// Where bytes come from.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Udp(UdpSocket),
}

impl Listener {
    pub(super) fn open(
        endpoint: &Endpoint,
        backlog: u32,
        receive_buffer: Option<u32>,
    ) -> Result<Self> {
        Ok(match endpoint {
            Endpoint::Tcp(address) => Self::Tcp(tcp(*address, backlog, receive_buffer)?),
            Endpoint::Udp(address) => Self::Datagrams(udp(*address)?),
            Endpoint::Unix(path) => {
                let socket = UnixSocket::new_stream()?;
                socket.bind(path)?;
                Self::Unix(socket.listen(backlog)?)
            }
            Endpoint::TcpName(name) => {
                bail!("a log server listens on an address, not on the name {name}")
            }
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| Stream::Unix(stream)),
            Self::Datagrams(_) => std::future::pending().await,
        }
    }
}

fn tcp(address: SocketAddr, backlog: u32, receive_buffer: Option<u32>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?; // before listen: the window scale is settled by the handshake
    }
    socket.bind(address)?;
    socket.listen(backlog)
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

impl Stream {
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            Self::Udp(socket) => socket.readable().await,
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Udp(socket) => socket.try_recv(buffer),
        }
    }

    pub(super) fn is_connection(&self) -> bool {
        !matches!(self, Self::Udp(_))
    }

    /// Closing a TCP connection will send RST, not FIN.
    pub(super) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            let at_once = linger {
                l_onoff: 1,
                l_linger: 0,
            };
            if let Err(errno) = setsockopt(&stream.as_fd(), sockopt::Linger, &at_once) {
                eprintln!("lab: cannot set SO_LINGER: {errno}");
            }
        }
    }
}
