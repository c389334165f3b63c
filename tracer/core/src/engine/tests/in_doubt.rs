//! Requests that were under way when records were lost.

use tracer_model::{EntryKind, EventKind, Nanos};

use super::story::*;

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
