//! A device that is enabled while the trace goes on: the server writes to it before its table has it, to try it.

use tracer_model::EntryHead;

use super::*;

fn test_entry() -> EntryHead {
    EntryHead {
        operation: Some("update".to_owned()),
        path: Some("sys/audit/test".to_owned()),
        ..named("id-test", EntryKind::Request)
    }
}

/// Beside its twin, a client's request to enable a device of the name `test`.
#[test]
fn the_entry_that_tries_a_device_names_no_request() {
    let of_client = EntryHead {
        remote_address: Some("127.0.0.1".to_owned()),
        ..test_entry()
    };
    for (entry, id) in [(test_entry(), "id-x"), (of_client, "id-test")] {
        for is_named_before in [false, true] {
            let mut story = Story::new();
            story.requested(20);
            if is_named_before {
                let own = named(id, EntryKind::Request);
                story.sends(log_socket(1), 20, (900, 900), Some(own));
            }
            story.connects(2, 20).after(S);
            story.state(log_socket(2), 20, TcpState::SynSent, TcpState::Established);
            story.sends(log_socket(2), 20, (900, 900), Some(entry.clone()));
            let own = named(id, EntryKind::Response);
            story.sends(log_socket(2), 20, (900, 900), Some(own));
            story.after(MS).answered(20).nothing_is_found();
            let [hang] = story.hangs()[..] else {
                panic!("{id} {is_named_before}: {:?}", story.findings);
            };
            assert_eq!(hang.request.id.as_deref(), Some(id));
            assert!(!hang.request.lower_bound, "{id} {is_named_before}");
            assert_eq!(story.summary().requests, 1, "{id} {is_named_before}");
        }
    }
}
