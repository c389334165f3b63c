//! How many requests the summary counts, and whether there were more.

use tracer_model::{Actor, BufferedTotals, EntryKind, EventKind};

use super::story::{MS, S, Story, client_socket, goroutine};

/// The kernel side counts what is over when buffering ends. Entries of that are restored all the same, where their connection is
/// gone. What writes an entry later and is never answered was not counted.
#[test]
fn restored_entries_of_requests_that_were_counted_are_no_further_requests() {
    for (is_later, were_more, at_least) in [
        (false, false, false),
        (true, false, true),
        (false, true, true),
    ] {
        let mut story = Story::new();
        let written = story.now;
        let ended = written + 10 * MS;
        story.after(10 * MS);
        story.happens(EventKind::BufferingEnded(BufferedTotals {
            requests: 20,
            at_least: were_more,
            ..BufferedTotals::default()
        }));
        story.now = if is_later { ended + MS } else { written };
        story
            .logs(1, 30, EntryKind::Request)
            .logs(1, 30, EntryKind::Response);
        story.now = ended + 4 * S;
        let summary = story.happens(EventKind::Tick).summary();
        let counted = (summary.requests, summary.requests_at_least);
        assert_eq!(counted, (20, at_least), "{is_later} {were_more}");
    }
}

/// Of a connection the first event may be a background read (`net/http`, `connReader.backgroundRead`): a byte, or within TLS a
/// whole request. The child that made it does not serve the connection, which carries one request at a time. Over HTTP/2 the
/// other child is the twin.
#[test]
fn a_connection_whose_first_event_is_a_background_read_carries_one_request_at_a_time() {
    for (bytes, rest_follows, is_http2) in [
        (1, true, false),
        (1, false, false),
        (300, false, false),
        (300, true, false),
        (300, false, true),
    ] {
        let mut story = Story::new();
        let child = |goid| Actor {
            parent: Some(20),
            ..goroutine(goid)
        };
        let reads = |by| EventKind::Receive {
            socket: client_socket(20),
            by,
            bytes,
            handshake: false,
        };
        story.happens(reads(child(920)));
        if rest_follows {
            story.after(MS).requested(20);
        }
        if is_http2 {
            story.after(MS).happens(reads(child(921)));
        }
        for number in 0..11 {
            if number > 0 {
                story.after(MS).requested(20);
            }
            story.logs(1, 20, EntryKind::Request).after(MS).answered(20);
        }
        let requests = story.summary().requests;
        let expected = if is_http2 { 0 } else { 11 };
        assert_eq!(requests, expected, "{bytes} {rest_follows}");
    }
}
