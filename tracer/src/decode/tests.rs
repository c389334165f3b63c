use super::*;

#[test]
fn the_packets_own_ports_tell_where_it_was_going() {
    let (local, remote) = (50_222, 1515);
    let packet = |source: u16, destination: u16| u32::from(source) << 16 | u32::from(destination);
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
