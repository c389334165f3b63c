//! Requests of a standby that wait for the active node, beside those that wait as long for something else.

use tracer_model::{Finding, Forwarded, ForwardedSample};

use super::*;

const ACTIVE: &str = "10.77.0.1:8201";

fn sample(goid: u64, ancestors: &[u64], since: u64) -> ForwardedSample {
    ForwardedSample {
        goid,
        ancestors: ancestors.to_vec(),
        since,
        to: Some(ACTIVE.to_owned()),
    }
}

/// A sample every 100 ms for so long, which finds these.
fn sampled(story: &mut Story, lasting: u64, handlers: &[ForwardedSample]) {
    for _ in 0..lasting / (100 * MS) {
        story.after(100 * MS).happens(EventKind::ForwardedSampled {
            handlers: handlers.to_vec(),
        });
        story.happens(EventKind::GoroutinesSampled {
            goroutines: Vec::new(),
            handlers: Some(Vec::new()),
        });
    }
}

fn forwarded(story: &Story) -> Vec<&Forwarded> {
    let found = story.findings.iter().filter_map(|finding| match finding {
        Finding::Forwarded(forwarded) => Some(forwarded.as_ref()),
        _ => None,
    });
    found.collect()
}

#[test]
fn a_request_waits_for_the_active_node_until_it_is_answered() {
    let mut story = Story::new();
    let began = story.now;
    story.requested(20).after(100 * MS);
    sampled(
        &mut story,
        7_800 * MS,
        &[sample(20, &[1], began + 200 * MS)],
    );
    story.after(100 * MS).answered(20);
    let [found] = forwarded(&story)[..] else {
        panic!("{:?}", story.findings)
    };
    assert_eq!((found.start, found.duration), (began, 8 * S));
    assert_eq!((found.uncertainty, found.to.as_deref()), (0, Some(ACTIVE)));
    assert_eq!(found.request.client.map(|c| c.port()), Some(50_020));
    assert!(story.hangs().is_empty());
    let summary = story.summary();
    assert_eq!((summary.requests, summary.hangs), (1, 0));
}

/// Over TLS those that were answered at once are not known to be requests: a standby audits nothing.
#[test]
fn over_tls_there_were_more_requests_than_those_that_waited() {
    for (status, at_least) in [(None, true), (Some(200), false)] {
        let mut story = Story::new();
        let since = story.requested(20).now + 100 * MS;
        sampled(&mut story, S, &[sample(20, &[1], since)]);
        story.happens(EventKind::Send {
            socket: client_socket(20),
            by: goroutine(20),
            result: 500,
            requested: Some(500),
            entry: None,
            tcp: None,
            status,
        });
        let summary = story.summary();
        let counted = (summary.requests, summary.requests_at_least);
        assert_eq!(counted, (1, at_least), "{status:?}");
    }
}

/// `OpenBao` begins with the request itself, entry and all.
#[test]
fn a_request_waits_from_its_own_last_act_to_its_next() {
    let mut story = Story::new();
    story
        .requested(20)
        .after(3 * S)
        .logs(1, 20, EntryKind::Request);
    let began = story.now;
    sampled(&mut story, 2 * S, &[sample(20, &[1], began + 100 * MS)]);
    story.after(MS).logs(1, 20, EntryKind::Response);
    sampled(&mut story, S, &[]);
    story.answered(20);
    let [found] = forwarded(&story)[..] else {
        panic!("{:?}", story.findings)
    };
    assert_eq!((found.start, found.duration), (began, 2 * S + MS));
    assert_eq!(found.request.id.as_deref(), Some("id-1"));
}

#[test]
fn who_waits_for_something_else_or_not_for_long_is_not_reported() {
    let mut story = Story::new();
    // Answered by this node itself, after as long.
    story.requested(20);
    sampled(&mut story, 8 * S, &[]);
    story.answered(20);
    // Shorter than the threshold.
    story.requested(21).after(10 * MS);
    let since = story.now;
    story.happens(EventKind::ForwardedSampled {
        handlers: vec![sample(21, &[1], since)],
    });
    story.after(50 * MS).answered(21);
    assert!(story.findings.is_empty(), "{:?}", story.findings);
}

#[test]
fn after_a_loss_a_wait_is_no_longer_than_was_seen() {
    let mut story = Story::new();
    let began = story.now;
    story.requested(20).after(100 * MS);
    let found = [sample(20, &[1], began + 200 * MS)];
    sampled(&mut story, S, &found);
    story.after(MS).happens(EventKind::RecordsLost {
        kind: "send".to_owned(),
        records: 1,
        until: None,
    });
    // Its goroutine may serve the connection's next request by now.
    sampled(&mut story, 4 * S, &found);
    story.answered(20);
    let durations: Vec<_> = forwarded(&story).iter().map(|f| f.duration).collect();
    assert_eq!(durations, [S + 100 * MS]);
    is_part_of_its_request(forwarded(&story)[0]);
}

fn is_part_of_its_request(found: &Forwarded) {
    let least = found.duration - found.uncertainty;
    assert!(found.request.duration >= least, "{found:?}");
}

/// The connection of two streams: 30 reads its frames, 31 writes one, 40 and 41 work on requests.
fn stream_connection(story: &mut Story) {
    let by = |goid, parent| Actor {
        parent: Some(parent),
        ..goroutine(goid)
    };
    let receive = |story: &mut Story, by| {
        story.happens(EventKind::Receive {
            socket: client_socket(20),
            by,
            bytes: 100,
            handshake: false,
        });
    };
    receive(story, goroutine(20));
    for _ in 0..2 {
        story.after(MS);
        receive(story, by(30, 20));
    }
}

#[test]
fn streams_wait_as_far_as_frames_and_samples_bound_it() {
    let mut story = Story::new();
    stream_connection(&mut story);
    let began = story.now;
    let both = [40, 41].map(|goid| sample(goid, &[20, 1], began + 100 * MS));
    sampled(&mut story, 2 * S, &both);
    // A frame for one of them.
    let frame = |story: &mut Story| {
        story.happens(EventKind::Send {
            socket: client_socket(20),
            by: Actor {
                parent: Some(20),
                ..goroutine(31)
            },
            result: 500,
            requested: None,
            entry: None,
            tcp: None,
            status: None,
        });
    };
    frame(story.after(50 * MS));
    story.after(50 * MS);
    sampled(&mut story, S, &both[1..]);
    // One more sample, before the answer, finds its goroutine running; those after it say nothing of nodes.
    sampled(&mut story, 100 * MS, &[]);
    frame(story.after(50 * MS));
    story.after(50 * MS).happens(EventKind::GoroutinesSampled {
        goroutines: Vec::new(),
        handlers: Some(Vec::new()),
    });
    let found = forwarded(&story);
    assert_eq!(found.len(), 2, "{:?}", story.findings);
    for (found, lasted) in found.iter().zip([2 * S + 50 * MS, 3 * S + 250 * MS]) {
        let off = found.duration.abs_diff(lasted);
        assert!(off <= found.uncertainty, "{found:?}: {lasted}");
        assert!(found.uncertainty <= 150 * MS, "{found:?}");
        is_part_of_its_request(found);
    }
}

#[test]
fn a_silent_connection_of_streams_is_sampled_once() {
    let mut story = Story::new();
    stream_connection(&mut story);
    let received = story.now;
    assert_eq!(story.core.due().min(received + 200 * MS), story.core.due());
    story.after(300 * MS).happens(EventKind::Tick);
    story.happens(EventKind::GoroutinesSampled {
        goroutines: Vec::new(),
        handlers: Some(Vec::new()),
    });
    story.after(S).happens(EventKind::Tick);
    assert_eq!(story.core.due(), story.now + 250 * MS, "the next tick");
}
