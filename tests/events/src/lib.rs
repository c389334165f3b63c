//! Events of simulated servers as the tracer sees them, and repeatable chance. Knows the model only, so that the core's
//! own tests can use it.

mod random;

use std::net::SocketAddr;

use tracer_model::{
    Actor, Device, EntryHead, EventKind, Nanos, Socket, SocketId, TcpState, Transport,
};

pub use random::Random;

/// A microsecond.
pub const US: Nanos = 1_000;
/// A millisecond.
pub const MS: Nanos = 1_000 * US;
/// A second.
pub const S: Nanos = 1_000 * MS;

/// When simulated traces begin.
pub const BEGAN: Nanos = 1_000 * S;
/// The threshold of hangs.
pub const THRESHOLD: Nanos = 100 * MS;

/// Bytes of an entry or an answer.
pub const WHOLE: i64 = 900;
/// The result of a write that blocks.
pub const EAGAIN: i64 = -11;

/// The goroutine that accepts connections.
pub const LISTENER: u64 = 1;

/// The address of the audit device of this number.
pub fn device_address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, 2 + number as u8], 1515))
}

/// The audit device of this number.
pub fn device(number: usize) -> Device {
    Device::tcp(device_address(number))
}

/// The client's end of the connection of this number.
pub fn client_address(connection: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 50_000 + connection as u16))
}

/// A goroutine, and the one that started it.
pub fn actor(goid: u64, parent: u64) -> Actor {
    Actor {
        tid: 7,
        goid: Some(goid),
        parent: Some(parent),
    }
}

/// A TCP socket; `born` tells it from others.
pub fn socket(born: Nanos, accepted: bool, remote: SocketAddr) -> Socket {
    Socket {
        id: SocketId { born, slot: 0 },
        fd: None,
        accepted,
        transport: Transport::Tcp,
        local: None,
        remote: Some(remote),
        path: None,
    }
}

/// The server's end of a client's connection.
pub fn client_socket(client: SocketAddr) -> Socket {
    socket(u64::from(client.port()), true, client)
}

/// Bytes arrive.
pub fn received(socket: Socket, by: Actor, bytes: u64) -> EventKind {
    EventKind::Receive {
        socket,
        by,
        bytes,
        handshake: false,
    }
}

/// [`WHOLE`] bytes are to be written, with this result.
pub fn sent(socket: Socket, by: Actor, result: i64, entry: Option<EntryHead>) -> EventKind {
    EventKind::Send {
        socket,
        by,
        result,
        requested: Some(WHOLE as u64),
        entry,
        tcp: None,
        status: None,
    }
}

/// A socket changes from the first of these states to the second.
pub fn changed(socket: Socket, by: Actor, (old, new): (TcpState, TcpState)) -> EventKind {
    EventKind::State {
        socket,
        by: Some(by),
        old,
        new,
        errno: 0,
        tcp: None,
    }
}

/// A connection is closed.
pub fn closed(socket: &Socket, by: Actor) -> [EventKind; 2] {
    [
        (TcpState::Established, TcpState::FinWait1),
        (TcpState::FinWait1, TcpState::Close),
    ]
    .map(|change| changed(socket.clone(), by, change))
}

/// What opens a connection of HTTP/2: `server`, its goroutine, reads the preface; the others read and write frames.
pub fn preface(socket: &Socket, server: u64, reader: u64, writer: u64) -> [EventKind; 4] {
    let received = |by, bytes| received(socket.clone(), by, bytes);
    [
        received(actor(server, LISTENER), 24),
        sent(socket.clone(), actor(writer, server), WHOLE, None),
        received(actor(reader, server), 40),
        received(actor(reader, server), 40),
    ]
}
