//! The words of causes.

use super::*;

/// The same table, at length.
#[test]
fn every_cause_has_a_section_in_the_remedies() {
    let remedies = include_str!("../../../../../docs/remedies.md");
    for cause in Cause::ALL {
        let name = cause.name();
        assert!(remedies.contains(&format!("\n## `{name}`\n")), "{name}");
        assert!(remedy(cause).ends_with('.'), "{name}");
    }
}

#[test]
fn a_unix_socket_has_no_firewall() {
    let evidence = Evidence {
        reset: true,
        ..Evidence::default()
    };
    for (transport, address, has_firewall) in [
        (Transport::Unix, "/run/log.sock", false),
        (Transport::Unix, "@log", false),
        (Transport::Syslog, "", false),
        (Transport::Tcp, "10.0.0.2:1515", true),
    ] {
        let failure = Failure {
            address,
            evidence: &evidence,
            errno: None,
            status: None,
            transport,
            duration: 0,
            stalls: &[],
        };
        for sentence in [refused(&failure), reset(&failure)] {
            assert_eq!(sentence.contains("firewall"), has_firewall, "{sentence}");
        }
    }
}
