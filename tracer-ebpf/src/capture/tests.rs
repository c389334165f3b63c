//! The programs' decisions, on the host.

use super::*;
use crate::abi::UNKNOWN;

const MS: u64 = 1_000_000;

#[test]
fn only_a_failure_while_buffering_freezes() {
    let after = [Mode::Stream, Mode::Buffer, Mode::Frozen].map(Mode::after_failure);
    assert_eq!(after, [Mode::Stream, Mode::Frozen, Mode::Frozen]);
}

#[test]
fn values_of_maps_are_read_back() {
    for mode in [Mode::Stream, Mode::Buffer, Mode::Frozen] {
        assert_eq!(Mode::from_wire(mode as u32), mode);
    }
    for role in [Role::Unknown, Role::Audit, Role::Other, Role::Device] {
        assert_eq!(Role::from_wire(role as u32), role);
    }
    assert_eq!(Mode::from_wire(99), Mode::Stream);
    assert_eq!(Role::from_wire(99), Role::Unknown);
}

#[test]
fn sends_are_disposed_of_by_role_and_outcome() {
    use Disposition::{Buffer, Discard, Freeze, Stream};
    use SendOutcome::{Complete, Failed, Short};
    use Takes::{Late, Normally, Unacknowledged};
    for (role, outcome, has_bytes, takes, expected) in [
        (Role::Other, Complete, true, Normally, Discard),
        (Role::Other, Failed, true, Late, Discard),
        (Role::Audit, Complete, true, Normally, Buffer),
        (Role::Audit, Complete, false, Normally, Stream),
        (Role::Audit, Complete, true, Late, Stream),
        (Role::Audit, Complete, true, Unacknowledged, Freeze),
        (Role::Audit, Complete, false, Unacknowledged, Freeze),
        (Role::Audit, Short, true, Late, Stream),
        (Role::Audit, Failed, true, Late, Freeze),
        (Role::Unknown, Complete, true, Normally, Stream),
        (Role::Unknown, Complete, true, Unacknowledged, Stream),
        (Role::Unknown, Short, true, Normally, Stream),
        (Role::Unknown, Failed, false, Normally, Freeze),
        (Role::Device, Complete, true, Normally, Stream),
        (Role::Device, Failed, true, Late, Freeze),
    ] {
        let disposition = dispose_of_send(role, outcome, has_bytes, takes);
        assert_eq!(
            disposition, expected,
            "{role:?} {outcome:?} {has_bytes} {takes:?}"
        );
    }
}

#[test]
fn clients_and_other_sockets_are_ignored_while_buffering() {
    assert!(is_ignored(true, Role::Unknown) && is_ignored(false, Role::Other));
    assert!(!is_ignored(false, Role::Unknown) && !is_ignored(false, Role::Audit));
}

/// A write of 100 bytes at this time, whose peer has acknowledged up to `una`, into a queue that then ends at `end`: whether
/// it is normal.
fn write(socket: &mut AuditSocket, now: u64, una: u32, end: u32) -> bool {
    let takes = socket.takes(SendOutcome::of(100, 100), (una, end.wrapping_sub(100)), now);
    assert_ne!(takes, Takes::Late);
    takes == Takes::Normally
}

#[test]
fn writes_are_normal_while_the_peer_acknowledges() {
    let mut socket = AuditSocket::new(0);
    // An empty queue before each write, however long the pauses.
    assert!(write(&mut socket, 10 * ACK_TIMEOUT, 1000, 1100));
    assert!(write(&mut socket, 20 * ACK_TIMEOUT, 1100, 1200));
    // The queue grows and is acknowledged in part.
    assert!(write(&mut socket, 20 * ACK_TIMEOUT + 400 * MS, 1150, 1300));
    assert!(write(&mut socket, 20 * ACK_TIMEOUT + 800 * MS, 1200, 1400));
}

#[test]
fn a_peer_that_acknowledges_nothing_is_not_normal_after_the_timeout() {
    let mut socket = AuditSocket::new(0);
    assert!(write(&mut socket, 0, 1000, 1100));
    assert!(write(&mut socket, ACK_TIMEOUT, 1000, 1200));
    assert!(!write(&mut socket, ACK_TIMEOUT + 1, 1000, 1300));
    // One acknowledgement, and it is normal again.
    assert!(write(&mut socket, ACK_TIMEOUT + 2, 1100, 1400));
}

#[test]
fn sequence_numbers_wrap_around() {
    let mut socket = AuditSocket::new(0);
    assert!(write(&mut socket, 0, u32::MAX - 49, 50));
    assert!(write(&mut socket, 2 * ACK_TIMEOUT, 50, 150));
}

#[test]
fn a_first_una_of_zero_is_no_stall() {
    let mut socket = AuditSocket::new(10 * ACK_TIMEOUT);
    assert!(write(&mut socket, 10 * ACK_TIMEOUT + 1, 0, 500));
}

#[test]
fn the_write_after_a_short_one_is_not_normal() {
    let mut socket = AuditSocket::new(0);
    let takes = |result| socket.takes(SendOutcome::of(result, 100), (0, 0), 0);
    let writes = [100, 40, 60, 100, -11, 100, 100].map(takes);
    let is_normal = writes.map(|takes| takes == Takes::Normally);
    // 60 of 100 falls short as well.
    assert_eq!(is_normal, [true, false, false, false, false, false, true]);
}

/// An entry larger than 4 kB is one entry; beside HTTP each write is one, however it begins.
#[test]
fn an_entry_over_http_is_counted_once() {
    let begins = |writes: &[bool]| {
        let mut socket = AuditSocket::new(0);
        let begun = writes.iter().filter(|w| socket.begins_entry(**w));
        begun.count()
    };
    assert_eq!(begins(&[true, false, true, true, false, false]), 3);
    assert_eq!(begins(&[false, false, false]), 3);
}

#[test]
fn a_connection_whose_requests_carry_entries_keeps_its_role() {
    let mut socket = AuditSocket::new(0);
    assert!(!socket.is_shown() && !socket.is_tls());
    socket.shows(Shown::Entries);
    assert!(socket.begins_entry(true) && socket.is_http());
    assert!(socket.is_shown() && !socket.is_tls());
    socket.shows(Shown::Tls);
    assert!(socket.is_shown() && socket.is_tls());
}

fn connection(received_at: u64, sent_at: u64) -> ClientConnection {
    ClientConnection {
        received_at,
        sent_at,
        is_served_by_reader: true,
        is_handshake: false,
    }
}

#[test]
fn the_rest_of_a_request_does_not_replace_its_beginning() {
    assert!(connection(0, 0).begins_request());
    assert!(!connection(10, 0).begins_request());
    assert!(!connection(30, 20).begins_request());
    assert!(connection(10, 20).begins_request());
    let shared = ClientConnection {
        is_served_by_reader: false,
        ..connection(30, 20)
    };
    assert!(shared.begins_request());
    let handshake = ClientConnection {
        is_handshake: true,
        ..connection(30, 20)
    };
    assert!(handshake.begins_request());
}

#[test]
fn an_answer_is_the_first_send_after_a_request() {
    assert_eq!(connection(30, 20).count_of_send(), Some(Count::Answers));
    assert_eq!(connection(10, 20).count_of_send(), None);
    let frames = ClientConnection {
        is_served_by_reader: false,
        ..connection(30, 20)
    };
    assert_eq!(frames.count_of_send(), Some(Count::Frames));
    let handshake = ClientConnection {
        is_handshake: true,
        ..connection(30, 20)
    };
    assert_eq!(handshake.count_of_send(), None);
}

#[test]
fn a_background_reader_is_the_servers_child() {
    assert!(is_served_by_reader(7, 7, 1));
    assert!(is_served_by_reader(7, 9, 7));
    assert!(!is_served_by_reader(8, 9, 7));
}

#[test]
fn each_processor_has_slots_of_its_own() {
    let slots = [0, 1, 63, 64, 65, UNKNOWN].map(|number| ring_slot(2, number, 64));
    assert_eq!(slots, [128, 129, 191, 128, 129, 191]);
}
