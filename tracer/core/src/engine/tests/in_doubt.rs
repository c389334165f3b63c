//! Requests that were under way when records were lost.

use tracer_format::text::explain;
use tracer_model::{
    Device, EntryKind, EventKind, LossTotals, Nanos, SendQueue, TcpState, Transport, WaitReason,
};

use super::{losses::*, story::*};

fn lost(story: &mut Story) {
    let kind = "send".to_owned();
    story.happens(EventKind::RecordsLost {
        kind,
        records: 9,
        until: None,
    });
}

/// Field case A1: while the agent does not read, the request ends, and the next one on its connection begins.
#[test]
fn after_a_loss_nothing_takes_a_later_name_or_end() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20);
    let certain = story.after(2 * S).gives_up_connecting(2, 20).now;
    story.connects(3, 20).after(4 * S);
    lost(&mut story);
    // Of a request that began during the loss.
    story.after(6 * S).sends(
        log_socket(9),
        20,
        (900, 900),
        Some(named("id-later", EntryKind::Response)),
    );
    story.answered(20).happens(EventKind::Tick);
    // Nor is an entry looked for that the next request may have written right after.
    let until = story.queries[0].not_after as Nanos;
    assert!(until + 5 * MS <= certain, "{until} {certain}");
    story.nothing_is_found();
    let [hang] = story.hangs()[..] else {
        panic!("{:?}", story.findings);
    };
    assert_eq!(hang.request.id, None);
    assert!(hang.request.lower_bound);
    assert_eq!(hang.request.status, None);
    let start = hang.request.start;
    assert_eq!(
        (hang.duration, start + hang.request.duration),
        (2 * S, certain)
    );
}

/// The agent reads many records at once: which of them came before the loss, and which after it, nothing shows.
#[test]
fn what_came_before_a_loss_confirms_nothing_of_what_came_after_it() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20);
    let (kind, until) = ("send".to_owned(), Some(story.now + 20 * S));
    story.happens(EventKind::RecordsLost {
        kind,
        records: 9,
        until,
    });
    let certain = story.after(2 * S).gives_up_connecting(2, 20).now;
    story.after(10 * S).answered(20).nothing_is_found();
    let [hang] = story.hangs()[..] else {
        panic!("{:?}", story.findings);
    };
    assert!(hang.request.lower_bound, "{hang:?}");
    assert_eq!((hang.end, hang.request.duration), (certain, 2 * S));
    assert_eq!(
        (hang.request.id.as_ref(), hang.request.status),
        (None, None)
    );
}

/// The twin: what is known by its name before and after the loss is one request.
#[test]
fn after_a_loss_a_request_that_shows_its_name_again_goes_on() {
    let mut story = Story::new();
    story.requested(20);
    story.sends(
        log_socket(1),
        20,
        (EAGAIN, 900),
        Some(named("id-1", EntryKind::Request)),
    );
    story.after(S);
    lost(&mut story);
    let entry = Some(named("id-1", EntryKind::Request));
    story.after(S).sends(log_socket(1), 20, (900, 900), entry);
    story.answered(20).happens(EventKind::Tick);
    let [hang] = story.hangs()[..] else {
        panic!("{:?}", story.findings);
    };
    assert_eq!(hang.request.id.as_deref(), Some("id-1"));
    assert!(!hang.request.lower_bound);
}

/// Neither its begin was seen nor its end: the acts of a goroutine may be of two requests, and of the second is the name.
#[test]
fn what_is_known_by_acts_alone_is_not_joined_with_what_may_have_come_after_a_loss() {
    let mut story = Story::new();
    known_device(&mut story);
    let (kind, until) = ("send".to_owned(), Some(story.now + 60 * S));
    story.happens(EventKind::RecordsLost {
        kind,
        records: 9,
        until,
    });
    story
        .connects(2, 20)
        .after(2 * S)
        .gives_up_connecting(2, 20);
    story.after(4 * S).connects(3, 20).after(2 * S);
    let later = Some(named("id-later", EntryKind::Response));
    story
        .gives_up_connecting(3, 20)
        .sends(log_socket(9), 20, (900, 900), later);
    story.nothing_is_found().summary();
    let hangs = story.hangs();
    assert_eq!(hangs.len(), 2, "{:?}", story.findings);
    for hang in hangs {
        assert_eq!((hang.duration, &hang.request.id), (2 * S, &None));
    }
}

/// The record of a dial's end may be among those that were lost, and the trace ends a minute later.
#[test]
fn a_wait_that_may_have_ended_is_not_said_to_last() {
    for is_lost in [true, false] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20).connects(2, 20).after(S);
        if is_lost {
            lost(&mut story);
        }
        story.after(60 * S).happens(EventKind::Tick);
        let shown = story.core.snapshot(story.now).stalls.len();
        story.happens(EventKind::End);
        let hangs: Vec<_> = story.hangs().iter().map(|h| h.duration).collect();
        let told = (shown, story.stalled().len(), story.incidents().len());
        let expected = usize::from(!is_lost);
        assert_eq!(told, (expected, expected, expected), "{is_lost}");
        assert_eq!(hangs, vec![61 * S; expected], "{is_lost}");
    }
}

/// Nor do samples show whose wait it is that they find, where the request may have been answered.
#[test]
fn what_samples_find_after_a_loss_may_be_the_next_requests() {
    for is_lost in [true, false] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20);
        let mut certain = 0;
        for number in 0..4 {
            let device = Some(Device::configured(Transport::Tcp, LOG));
            story.after(400 * MS).happens(EventKind::GoroutinesSampled {
                goroutines: vec![parked(20, WaitReason::Resolve, None, device)],
                handlers: None,
            });
            if number == 1 {
                certain = story.now;
                if is_lost {
                    lost(&mut story);
                }
            }
        }
        let end = story.after(60 * S).happens(EventKind::End).now;
        let [hang] = story.hangs()[..] else {
            panic!("{:?}", story.findings);
        };
        assert_eq!(hang.end, if is_lost { certain } else { end });
    }
}

/// The kernel may have delivered what a closed connection still held, and the record of that is lost.
#[test]
fn what_may_have_been_delivered_is_pending_only_if_the_send_queue_shows_it() {
    for (is_lost, is_queued, is_pending) in [
        (true, false, false),
        (true, true, true),
        (false, false, true),
    ] {
        let mut story = Story::new();
        story.requested(20);
        unacknowledged(&mut story, 1, 20);
        server_closes(&mut story, 1);
        story.after(S);
        if is_lost {
            lost(&mut story);
        }
        if is_queued {
            let queue = SendQueue {
                local: local(1),
                remote: LOG.parse().expect("an address"),
                bytes: 901,
            };
            let queues = vec![queue];
            story.happens(EventKind::SendQueues { queues });
        }
        story.after(S).happens(EventKind::End);
        let pending: Vec<_> = losses(&story).iter().map(|l| l.bytes).collect();
        let expected = vec![900; usize::from(is_pending)];
        assert_eq!(pending, expected, "{is_lost} {is_queued}");
    }
}

#[test]
fn an_incident_in_which_records_were_lost_has_no_account_of_what_the_device_lost() {
    for is_lost in [true, false] {
        let mut story = Story::new();
        story.requested(20).happens(EventKind::Send {
            socket: bound(1),
            by: goroutine(20),
            result: 900,
            requested: Some(900),
            entry: Some(named("id-1", EntryKind::Request)),
            tcp: Some(tcp(900, 900)),
            status: None,
        });
        let goid = if is_lost { 20 } else { 21 };
        if !is_lost {
            // What was lost before it does not count.
            lost(&mut story);
            story.after(MS).requested(goid);
        }
        story.after(MS).connects(2, goid).after(S);
        if is_lost {
            lost(&mut story);
        }
        story.gives_up_connecting(2, goid).happens(EventKind::End);
        let accounts: Vec<_> = story.incidents().iter().map(|i| i.lost).collect();
        let expected = (!is_lost).then(LossTotals::default);
        assert_eq!(accounts, [expected], "{is_lost}");
    }
}

/// Of three entries nobody knows the second one.
#[test]
fn an_account_lacks_the_entries_whose_records_were_lost() {
    for (begins, is_complete) in [(900, true), (1800, false)] {
        let mut story = Story::new();
        story.requested(20);
        unacknowledged(&mut story, 1, 20);
        if !is_complete {
            lost(&mut story);
        }
        let last = tcp(0, begins + 900);
        story.happens(EventKind::Send {
            socket: bound(1),
            by: goroutine(20),
            result: 900,
            requested: Some(900),
            entry: Some(named("id-1", EntryKind::Response)),
            tcp: Some(last),
            status: None,
        });
        let change = (TcpState::Established, TcpState::Close);
        changes(&mut story, 1, change, last);
        story.happens(EventKind::Tick);
        let [loss] = losses(&story)[..] else {
            panic!("{:?}", story.findings);
        };
        let account = (loss.bytes, loss.entries, loss.complete);
        assert_eq!(account, (u64::from(begins) + 900, 2, is_complete));
        let sentence = explain::loss(loss);
        assert_eq!(sentence.contains("not seen"), !is_complete, "{sentence}");
    }
}
