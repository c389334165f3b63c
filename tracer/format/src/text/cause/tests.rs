//! The words of causes.

use tracer_model::Phase;

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

/// Of requests that queued behind one that no probe saw wait, nothing says that the socket was full.
#[test]
fn a_queue_alone_shows_nothing_of_the_socket() {
    let evidence = Evidence::default();
    for (ops, says_full) in [
        (&[Op::Lock][..], false),
        (&[Op::Lock, Op::Lock], false),
        (&[Op::Lock, Op::Write], true),
        (&[Op::Write], true),
    ] {
        let stalls: Vec<_> = ops.iter().map(|op| stall(*op)).collect();
        let failure = Failure {
            address: "10.0.0.2:1515",
            evidence: &evidence,
            errno: None,
            status: None,
            transport: Transport::Tcp,
            duration: 0,
            stalls: &stalls,
        };
        let sentence = hang(Cause::Unknown, &failure);
        assert_eq!(sentence.contains("took no more"), says_full, "{ops:?}");
    }
}

fn stall(op: Op) -> Stall {
    Stall {
        op,
        phase: Phase::Request,
        start: 0,
        duration: 1,
        uncertainty: 0,
        outcome: Some(Outcome::Ok),
        errno: None,
        cause: Cause::Unknown,
        evidence: Evidence::default(),
        behind: None,
        blocked_by: None,
        inferred: false,
        dropped: false,
    }
}
