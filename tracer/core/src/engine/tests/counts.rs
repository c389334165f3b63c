//! How many requests the summary counts, and whether there were more.

use tracer_model::{BufferedTotals, EntryKind, EventKind};

use super::story::{MS, S, Story};

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
