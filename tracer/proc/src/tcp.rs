//! Lines of `/proc/net/tcp` and `tcp6` (`net/ipv4/tcp_ipv4.c`, `get_tcp4_sock`).

use std::net::{IpAddr, SocketAddr};

/// A TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpEntry {
    /// Local address.
    pub local: SocketAddr,
    /// Remote address; unspecified for listeners.
    pub remote: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// Bytes that were written and not acknowledged.
    pub send_queue: u32,
    /// Bytes that were received and not read; of a listener, connections that are not accepted.
    pub receive_queue: u32,
    /// Inode number; 0 if no process has a descriptor of it.
    pub inode: u64,
}

/// `include/net/tcp_states.h`.
#[allow(missing_docs, reason = "RFC 9293 defines them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    /// A connection request, not yet a socket.
    NewSynRecv,
}

impl TcpState {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => return None,
        })
    }
}

impl TcpEntry {
    /// From a line, but for the first.
    pub fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let field = |index: usize| fields.get(index).copied();
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let (send, receive) = field(4)?.split_once(':')?;
        Some(Self {
            local: address(field(1)?)?,
            remote: address(field(2)?)?,
            state: TcpState::of(u8::from_str_radix(field(3)?, 16).ok()?)?,
            send_queue: hex(send)?,
            receive_queue: hex(receive)?,
            inode: field(9)?.parse().ok()?,
        })
    }
}

/// `0100007F:1F90`: the address in words of 32 bits, each in the host's order; the port is a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let (words, _) = ip.as_bytes().as_chunks::<8>();
    let word = |digits: &[u8; 8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let bytes = words.iter().map(word).collect::<Option<Vec<_>>>()?.concat();
    let ip = match ip.len() {
        8 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        32 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_families_are_read() {
        let v4 = "   0: 0100007F:1F90 0200000A:D431 04 0000002A:00000007 01:00000014 00000003     0        0 18 2 0";
        let expected = TcpEntry {
            local: "127.0.0.1:8080".parse().expect("an address"),
            remote: "10.0.0.2:54321".parse().expect("an address"),
            state: TcpState::FinWait1,
            send_queue: 42,
            receive_queue: 7,
            inode: 18,
        };
        assert_eq!(TcpEntry::parse(v4), Some(expected));
        let v6 = "   1: 00000000000000000000000001000000:1F90 B80D0120000000000000000002000000:0001 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0";
        let entry = TcpEntry::parse(v6).expect("an entry");
        assert_eq!(entry.local, "[::1]:8080".parse().expect("an address"));
        assert_eq!(entry.remote, "[2001:db8::2]:1".parse().expect("an address"));
        assert_eq!((entry.state, entry.inode), (TcpState::Listen, 4242));
    }

    #[test]
    fn a_line_that_is_not_as_described_is_refused() {
        for line in [
            "",
            "0: 0100007F:1F90",
            "0: 0100007F:1F90 00000000:0000 FF 0:0 0:0 0 0 0 1",
            "0: 01007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1",
        ] {
            assert_eq!(TcpEntry::parse(line), None, "{line}");
        }
    }
}
