//! Incidents of a server that always has requests under way.

use super::*;

/// Beside those that come later, a request that wrote an entry before the outage and works on, and one that the outage blocked.
#[test]
fn an_incident_is_reported_once_the_requests_that_met_it_are_over() {
    for (was_there, is_blocked) in [(false, false), (true, false), (true, true)] {
        let writes = |story: &mut Story, goid: u64, kind| {
            let entry = named(&format!("id-{goid}"), kind);
            story.sends(log_socket(9), goid, (900, 900), Some(entry));
        };
        let mut story = Story::new();
        known_device(&mut story);
        if was_there {
            story.requested(80);
            writes(&mut story, 80, EntryKind::Request);
        }
        story.after(2 * S).requested(20).dials_twice(2, 20);
        if is_blocked {
            story.dials_twice(4, 80);
        }
        writes(&mut story, 20, EntryKind::Response);
        story.answered(20).nothing_is_found();
        for goid in 21..41 {
            story.requested(goid);
            writes(&mut story, goid, EntryKind::Request);
            story.after(S / 4).happens(EventKind::Tick);
            if goid > 21 {
                story.answered(goid - 1);
            }
        }
        let reported = usize::from(!is_blocked);
        assert_eq!(story.incidents().len(), reported, "{was_there}");
        assert_eq!(story.core.may_buffer(), !is_blocked, "{was_there}");
        if was_there {
            writes(&mut story, 80, EntryKind::Response);
            story.answered(80).nothing_is_found();
        }
        story.after(S / 4).happens(EventKind::Tick);
        let [incident] = story.incidents()[..] else {
            panic!("{was_there} {is_blocked}: {:?}", story.findings);
        };
        assert_eq!(incident.hangs, 1 + u64::from(is_blocked));
        assert!(incident.end.is_some(), "{incident:?}");
    }
}
