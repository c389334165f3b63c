//! Decodes wire records. Any bytes give an event or an error. The start of an audit entry, which may hold secrets, is
//! parsed here and goes no further.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
};

use bytes::Buf;
use tracer_ebpf::{
    abi::{self, ACCEPTED, IN_PROCESS, Kind, Name, Record, UNIX_PATH, UNKNOWN},
    layout::ABSENT,
    protocol::is_handshake,
};

use crate::audit::{entry::parse_head, server_log};
use tracer_model::{
    Actor, Event, EventKind, Nanos, Socket, SocketId, Tcp, TcpState, Transport, canonical,
};

/// `include/linux/socket.h`, `include/uapi/linux/in.h`.
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_MPTCP: u16 = 262;

/// What decoding needs to know of the running kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Names of `enum skb_drop_reason`.
    pub drop_reasons: BTreeMap<u32, String>,
    /// Addresses of `nf_hook_slow`, where netfilter drops packets, for kernels that give no reason.
    pub netfilter: Option<Range<u64>>,
    /// Length of a jiffy, ns.
    pub jiffy: Nanos,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the record has.
    Short,
    /// Not a kind this program knows.
    Kind(u16),
    /// Not a TCP state this program knows.
    State(u8),
    /// Not an address family this program knows.
    Family(u16),
    /// Not a transport of audit devices or clients.
    Protocol(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short => write!(f, "record is cut short"),
            Malformed::Kind(kind) => write!(f, "record of unknown kind {kind}"),
            Malformed::State(state) => write!(f, "unknown TCP state {state}"),
            Malformed::Family(family) => write!(f, "unknown address family {family}"),
            Malformed::Protocol(protocol) => write!(f, "unknown IP protocol {protocol}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Decodes one record from the ring buffer; `None` for an error in the server's log that is of no audit device.
pub fn decode(mut bytes: &[u8], kernel: &Kernel) -> Result<Option<Event>, Malformed> {
    let record = record(&mut bytes)?;
    let what = if record.kind == Kind::LogLine as u16 {
        log_line(&record, bytes)?
    } else {
        Some(event_kind(&record, bytes, kernel)?)
    };
    let at = record.time;
    Ok(what.map(|what| Event { at, what }))
}

fn log_line(record: &Record, mut rest: &[u8]) -> Result<Option<EventKind>, Malformed> {
    if rest.len() < 8 {
        return Err(Malformed::Short);
    }
    let len = rest.get_u32_ne() as usize;
    let _reserved = rest.get_u32_ne();
    let line = rest.get(..len).ok_or(Malformed::Short)?;
    Ok(
        server_log::parse(line).map(|report| EventKind::DevicesFailed {
            by: actor(record),
            phase: report.phase,
            failures: report.failures,
        }),
    )
}

/// Reads the fields in the order in which `repr(C)` lays them out.
fn record(bytes: &mut &[u8]) -> Result<Record, Malformed> {
    if bytes.len() < size_of::<Record>() {
        return Err(Malformed::Short);
    }
    Ok(Record {
        time: bytes.get_u64_ne(),
        sock: bytes.get_u64_ne(),
        born: bytes.get_u64_ne(),
        goid: bytes.get_u64_ne(),
        parent_goid: bytes.get_u64_ne(),
        value: bytes.get_i64_ne(),
        extra: bytes.get_u64_ne(),
        kind: bytes.get_u16_ne(),
        flags: bytes.get_u16_ne(),
        tid: bytes.get_u32_ne(),
        fd: bytes.get_i32_ne(),
        status: bytes.get_u16_ne(),
        reserved: bytes.get_u16_ne(),
        name: Name {
            family: bytes.get_u16_ne(),
            protocol: bytes.get_u16_ne(),
            local_port: bytes.get_u16_ne(),
            remote_port: bytes.get_u16_ne(),
            local_addr: array(bytes),
            remote_addr: array(bytes),
        },
    })
}

fn array(bytes: &mut &[u8]) -> [u8; 16] {
    let mut array = [0; 16];
    bytes.copy_to_slice(&mut array);
    array
}

/// The part of an `EntryRecord` after its record.
struct Sent<'a> {
    tcp: Option<Tcp>,
    path: Option<String>,
    bytes: &'a [u8],
}

fn sent<'a>(mut rest: &'a [u8], kernel: &Kernel) -> Result<Sent<'a>, Malformed> {
    let tcp = tcp(&mut rest, kernel)?;
    let (path, mut rest) = rest.split_at_checked(UNIX_PATH).ok_or(Malformed::Short)?;
    if rest.len() < 8 {
        return Err(Malformed::Short);
    }
    let len = rest.get_u32_ne() as usize;
    let _reserved = rest.get_u32_ne();
    Ok(Sent {
        tcp,
        path: c_string(path),
        bytes: rest.get(..len).ok_or(Malformed::Short)?,
    })
}

/// Up to the first zero; `None` if that is the first byte.
fn c_string(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// Reads the fields of the wire's `Tcp` in their order.
fn tcp(bytes: &mut &[u8], kernel: &Kernel) -> Result<Option<Tcp>, Malformed> {
    if bytes.len() < size_of::<abi::Tcp>() {
        return Err(Malformed::Short);
    }
    let mut number = || bytes.get_u32_ne();
    let present = number() == 1;
    let (una, nxt, end) = (number(), number(), number());
    let mut known = || Some(number()).filter(|number| *number != ABSENT);
    let tcp = Tcp {
        una,
        nxt,
        end,
        window: known(),
        mss: known(),
        queued: known(),
        limit: known(),
        // In eighths of a microsecond; 0 before the first measurement.
        srtt: known().filter(|s| *s > 0).map(|s| Nanos::from(s) * 125),
        rto: known().map(|jiffies| Nanos::from(jiffies) * kernel.jiffy),
        ack_age: known().map(|jiffies| Nanos::from(jiffies) * kernel.jiffy),
        timeouts: known(),
        probes: known(),
        soft_error: number() as i32,
    };
    Ok(present.then_some(tcp))
}

fn event_kind(record: &Record, rest: &[u8], kernel: &Kernel) -> Result<EventKind, Malformed> {
    let kind = Kind::from_wire(record.kind).ok_or(Malformed::Kind(record.kind))?;
    let socket = socket(record)?;
    let by = actor(record);
    Ok(match kind {
        Kind::Send => send(record, socket, by),
        Kind::Entry => entry(record, socket, by, sent(rest, kernel)?),
        Kind::Receive => EventKind::Receive {
            socket,
            by,
            bytes: u64::try_from(record.value).unwrap_or(0),
            handshake: is_handshake(record.extra),
        },
        Kind::State => state(record, socket, rest, kernel)?,
        Kind::Retransmit => EventKind::Retransmit { socket },
        Kind::Reset => EventKind::Reset { socket },
        Kind::Drop => drop(record, socket, kernel),
        Kind::Error => EventKind::SocketError {
            socket,
            errno: record.value as i32,
            soft: record.extra as i32,
        },
        Kind::ConnectFailed => EventKind::ConnectFailed {
            socket,
            by,
            errno: (record.value as i32).saturating_neg(),
        },
        Kind::WindowProbe => EventKind::WindowProbe { socket },
        Kind::Rejected => EventKind::Rejected {
            socket,
            status: record.status,
        },
        // Has no socket: decoded before.
        Kind::LogLine => return Err(Malformed::Kind(record.kind)),
    })
}

fn send(record: &Record, socket: Socket, by: Actor) -> EventKind {
    EventKind::Send {
        socket,
        by,
        result: record.value,
        requested: (record.extra != UNKNOWN).then_some(record.extra),
        entry: None,
        tcp: None,
        status: (record.status != 0).then_some(record.status),
    }
}

fn entry(record: &Record, mut socket: Socket, by: Actor, sent: Sent<'_>) -> EventKind {
    socket.path = sent.path;
    let mut what = send(record, socket, by);
    if let EventKind::Send { entry, tcp, .. } = &mut what {
        *entry = parse_head(sent.bytes);
        *tcp = sent.tcp;
    }
    what
}

fn state(
    record: &Record,
    socket: Socket,
    mut rest: &[u8],
    kernel: &Kernel,
) -> Result<EventKind, Malformed> {
    let [new, old, ..] = record.value.to_le_bytes();
    let known = |state| TcpState::from_kernel(state).ok_or(Malformed::State(state));
    Ok(EventKind::State {
        socket,
        by: (record.flags & IN_PROCESS != 0).then(|| actor(record)),
        old: known(old)?,
        new: known(new)?,
        errno: record.extra as i32,
        tcp: tcp(&mut rest, kernel)?,
    })
}

fn drop_reason(reason: i64, kernel: &Kernel) -> String {
    if reason < 0 {
        return dropped_at(reason.cast_unsigned(), kernel).to_owned();
    }
    let name = u32::try_from(reason)
        .ok()
        .and_then(|r| kernel.drop_reasons.get(&r));
    name.cloned().unwrap_or_else(|| reason.to_string())
}

fn drop(record: &Record, socket: Socket, kernel: &Kernel) -> EventKind {
    let port = |address: Option<SocketAddr>| address.map_or(0, |address| address.port());
    let came_in = record.extra as u32 != 0;
    let packet = (record.extra >> 32) as u32;
    let incoming = is_incoming(packet, came_in, (port(socket.local), port(socket.remote)));
    EventKind::Drop {
        socket,
        reason: drop_reason(record.value, kernel),
        incoming,
        beyond: came_in && !incoming,
    }
}

/// The interface that a packet last came in by says nothing of its direction: what the server sends comes in by the far end
/// of its veth. The packet's source and destination port do, beside the socket's own; of the two one may have been translated.
/// Where they say nothing, the interface is all there is.
fn is_incoming(packet: u32, came_in: bool, (local, remote): (u16, u16)) -> bool {
    let (source, destination) = ((packet >> 16) as u16, packet as u16);
    let alike = |(from, to): (u16, u16)| u8::from(source == from) + u8::from(destination == to);
    let (sent, received) = (alike((local, remote)), alike((remote, local)));
    if packet == 0 || sent == received {
        came_in
    } else {
        received > sent
    }
}

/// The reason that newer kernels give (`include/net/dropreason-core.h`).
fn dropped_at(place: u64, kernel: &Kernel) -> &'static str {
    let by_rule = |rules: &Range<u64>| rules.contains(&place);
    if kernel.netfilter.as_ref().is_some_and(by_rule) {
        "NETFILTER_DROP"
    } else {
        "NOT_SPECIFIED"
    }
}

fn actor(record: &Record) -> Actor {
    Actor {
        tid: record.tid,
        goid: (record.goid != 0).then_some(record.goid),
        parent: (record.parent_goid != 0).then_some(record.parent_goid),
    }
}

fn socket(record: &Record) -> Result<Socket, Malformed> {
    let name = &record.name;
    Ok(Socket {
        id: SocketId {
            born: record.born,
            slot: (record.sock >> 6) as u16,
        },
        // A state may change in the middle of a system call on another descriptor.
        fd: (record.fd >= 0 && record.kind != Kind::State as u16).then_some(record.fd),
        accepted: record.flags & ACCEPTED != 0,
        transport: transport(name)?,
        local: address(name.family, name.local_addr, name.local_port)?,
        remote: address(name.family, name.remote_addr, name.remote_port)?,
        path: None,
    })
}

fn transport(name: &Name) -> Result<Transport, Malformed> {
    match (name.family, name.protocol) {
        (AF_UNIX, _) => Ok(Transport::Unix),
        (_, IPPROTO_TCP | IPPROTO_MPTCP) => Ok(Transport::Tcp),
        (_, IPPROTO_UDP) => Ok(Transport::Udp),
        (_, other) => Err(Malformed::Protocol(other)),
    }
}

/// Port 0 is no address: not bound or not connected yet.
fn address(family: u16, bytes: [u8; 16], port: u16) -> Result<Option<SocketAddr>, Malformed> {
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        AF_INET6 => canonical(Ipv6Addr::from(bytes).into()),
        AF_UNIX => return Ok(None),
        other => return Err(Malformed::Family(other)),
    };
    Ok((port != 0).then(|| SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_own_ports_tell_where_it_was_going() {
        let (local, remote) = (50_222, 1515);
        let packet =
            |source: u16, destination: u16| u32::from(source) << 16 | u32::from(destination);
        for came_in in [false, true] {
            for (name, packet, expected) in [
                ("sent", packet(local, remote), false),
                ("sent, its source translated", packet(61_000, remote), false),
                (
                    "sent, its destination translated",
                    packet(local, 31_515),
                    false,
                ),
                ("received", packet(remote, local), true),
                (
                    "received, before it is translated back",
                    packet(remote, 61_000),
                    true,
                ),
                ("not read", 0, came_in),
                ("of neither", packet(1, 2), came_in),
            ] {
                let ports = (local, remote);
                assert_eq!(
                    is_incoming(packet, came_in, ports),
                    expected,
                    "{name} {came_in}"
                );
            }
            let same = packet(1515, 1515);
            assert_eq!(is_incoming(same, came_in, (1515, 1515)), came_in);
        }
    }
}
