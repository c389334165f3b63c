//! Entries to HTTP servers that a client's transport sends in parts: the first 4,096 bytes, and then the rest.

use tracer_model::{EntryHead, Phase, Socket, Transport};

use super::{http_device::named_by_transport, *};

const URL: &str = "http://10.77.0.3:8080";
const WRITER: u64 = 70; // `persistConn.writeLoop`
const EPIPE: i64 = -32;

fn own(number: u64) -> Socket {
    socket(number, false, "10.77.0.3:8080")
}

/// A request of which another device has the first entry.
fn begun() -> Story {
    let mut story = Story::new();
    let devices = [(Transport::Http, URL), (Transport::Tcp, LOG)];
    story.happens(named_by_transport(devices));
    story.requested(20).after(MS);
    let request = Some(named("id-20", EntryKind::Request));
    story.sends(log_socket(1), 20, (900, 900), request);
    story
}

fn begins_to_post(story: &mut Story, kind: EntryKind) {
    let entry = EntryHead {
        over_http: true,
        ..named("id-20", kind)
    };
    let all = (4096, 4096);
    story.after(MS).sends(own(5), WRITER, all, Some(entry));
}

fn posts(story: &mut Story, kind: EntryKind, parts: u32) {
    begins_to_post(story, kind);
    for _ in 1..parts {
        story.after(MS).sends(own(5), WRITER, (3000, 3000), None);
    }
}

fn is_refused(story: &mut Story) {
    let state = |old, new, errno| EventKind::State {
        socket: own(6),
        by: Some(goroutine(20)),
        old,
        new,
        errno,
        tcp: None,
    };
    story.after(MS);
    story.happens(state(TcpState::Close, TcpState::SynSent, 0));
    story.happens(state(TcpState::SynSent, TcpState::Close, 111));
}

/// Refusals, and entries that could not be written in all incidents.
fn told(mut story: Story) -> (usize, u64) {
    story.after(MS).answered(20).nothing_is_found();
    let incidents = story.incidents_after(6);
    let failed = incidents.iter().filter_map(|i| i.untaken.failed);
    (story.refusals().len(), failed.sum())
}

#[test]
fn the_next_entry_is_not_taken_by_the_rest_of_the_one_before() {
    for parts in 1..=3 {
        let mut story = begun();
        posts(&mut story, EntryKind::Request, parts);
        is_refused(&mut story);
        assert_eq!(told(story), (1, 1), "{parts}");
        // The twin.
        let mut story = begun();
        posts(&mut story, EntryKind::Request, parts);
        posts(&mut story, EntryKind::Response, parts);
        assert_eq!(told(story), (0, 0), "{parts}");
    }
}

#[test]
fn an_entry_of_which_the_rest_fails_is_not_taken() {
    for (bytes, expected) in [(EPIPE, (1, 1)), (3000, (0, 0))] {
        let mut story = begun();
        begins_to_post(&mut story, EntryKind::Request);
        story.after(MS).sends(own(5), WRITER, (bytes, 3000), None);
        assert_eq!(told(story), expected, "{bytes}");
    }
}

#[test]
fn a_stall_of_the_rest_is_one_of_its_entry() {
    for (kind, phase) in [
        (EntryKind::Request, Phase::Request),
        (EntryKind::Response, Phase::Response),
    ] {
        let mut story = begun();
        if kind == EntryKind::Response {
            posts(&mut story, EntryKind::Request, 2);
        }
        begins_to_post(&mut story, kind);
        story.after(MS).sends(own(5), WRITER, (EAGAIN, 3000), None);
        story.after(2 * S).sends(own(5), WRITER, (3000, 3000), None);
        story.after(MS).answered(20).nothing_is_found();
        let [hang] = story.hangs()[..] else {
            panic!("{:?}", story.findings);
        };
        let stalls: Vec<_> = hang.stalls.iter().map(|s| (s.phase, s.duration)).collect();
        assert_eq!(stalls, [(phase, 2 * S)]);
    }
}
