//! What the programs know an address by.

use std::net::{IpAddr, SocketAddr};

use nix::libc::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use tracer_ebpf::abi::Destination;
use tracer_model::Transport;

/// `None` of what is not on the network.
pub(super) fn destination(transport: Transport, remote: SocketAddr) -> Option<Destination> {
    let protocol = match transport {
        Transport::Tcp => IPPROTO_TCP,
        Transport::Udp => IPPROTO_UDP,
        _ => return None,
    };
    let mut address = [0; 16];
    let family = match remote.ip() {
        IpAddr::V4(ip) => {
            address[..4].copy_from_slice(&ip.octets());
            AF_INET
        }
        IpAddr::V6(ip) => {
            address = ip.octets();
            AF_INET6
        }
    };
    Some(Destination {
        address,
        family: family as u16,
        protocol: protocol as u16,
        port: remote.port(),
        reserved: 0,
    })
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::abi::Name;

    use super::*;

    #[test]
    fn an_address_is_known_by_what_a_socket_that_leads_there_is_called() {
        let mut four = [0; 16];
        four[..4].copy_from_slice(&[10, 77, 0, 2]);
        let mut six = [0; 16];
        (six[0], six[15]) = (0xfd, 2);
        for (transport, remote, family, protocol, remote_addr) in [
            (Transport::Tcp, "10.77.0.2:636", AF_INET, IPPROTO_TCP, four),
            (Transport::Udp, "[fd00::2]:53", AF_INET6, IPPROTO_UDP, six),
        ] {
            let remote: SocketAddr = remote.parse().expect("an address");
            let name = Name {
                family: family as u16,
                protocol: protocol as u16,
                local_port: 50_000,
                remote_port: remote.port(),
                remote_addr,
                ..Name::NONE
            };
            let expected = Some(Destination::of(&name));
            assert_eq!(destination(transport, remote), expected, "{remote}");
        }
        let at = ([10, 77, 0, 2], 1).into();
        assert_eq!(destination(Transport::Unix, at), None);
    }
}
