//! Audit files that owe entries, and such that show what others owe.

use super::*;

fn measure(story: &mut Story, size: Option<u64>, open: Option<bool>, free: u64) {
    story.after(MS).happens(EventKind::FileSize {
        path: FILE.to_owned(),
        size,
        open,
        free: Some(free),
    });
}

#[test]
fn an_audit_file_that_stays_as_it_is_fails() {
    let open = Some(true);
    for (name, measured, free, cause) in [
        (
            "full",
            &[(Some(64), open), (Some(64), open)][..],
            0,
            Some(Cause::NoSpace),
        ),
        (
            "for another reason",
            &[(Some(64), open), (Some(64), open)],
            1 << 30,
            Some(Cause::Unknown),
        ),
        (
            "gone, and not opened again",
            &[(Some(64), open), (None, Some(false)), (None, Some(false))],
            1 << 30,
            Some(Cause::Unknown),
        ),
        ("grows", &[(Some(64), open), (Some(99), open)], 0, None),
        (
            "truncated and written",
            &[(Some(64), open), (Some(9), open)],
            0,
            None,
        ),
        (
            "a pipe, or rotated, and what the server has open may be it",
            &[(Some(64), None), (Some(64), None)],
            0,
            None,
        ),
        (
            "never seen open",
            &[(None, Some(false)), (None, Some(false))],
            0,
            None,
        ),
        (
            "moved away meanwhile",
            &[(Some(64), open), (None, None), (None, None)],
            0,
            None,
        ),
    ] {
        for (transport, is_filtered) in [(Transport::File, false), (Transport::File, true)] {
            let mut story = Story::new();
            story.happens(table(&[
                (Transport::Tcp, LOG, true),
                (transport, FILE, !is_filtered),
            ]));
            story.happens(EventKind::Tick);
            for (goid, (size, open)) in (20..).step_by(3).zip(measured) {
                measure(&mut story, *size, *open, free);
                served(&mut story, goid, &[to(LOG)]);
                served(&mut story, goid + 1, &[to(LOG)]);
                story.after(S / 2).happens(EventKind::Tick);
            }
            let (size, open) = measured[measured.len() - 1];
            let grows = matches!(name, "grows" | "truncated and written");
            measure(
                &mut story,
                size.map(|size| size + u64::from(grows)),
                open,
                free,
            );
            settles(&mut story);
            let expected = cause.filter(|_| !is_filtered);
            let found: Vec<_> = story.refusals();
            assert_eq!(found.first().map(|r| r.cause), expected, "{name}");
            if expected.is_some() {
                assert!(found.iter().all(|r| r.inferred && r.device.address == FILE));
                // It grows again.
                measure(&mut story, Some(500), Some(true), 1 << 30);
                measure(&mut story, Some(900), Some(true), 1 << 30);
                let incidents = story.incidents_after(8);
                assert_eq!(incidents.len(), 1, "{name}");
                assert!(incidents[0].end.is_some(), "{name}");
                assert!(incidents[0].untaken.failed.is_some_and(|n| n >= 4));
            }
        }
    }
}

/// Only the audit file beside a socket shows that its requests were audited.
#[test]
fn an_entry_in_an_audit_file_is_due_from_the_socket_beside_it() {
    for found in [true, false] {
        let mut story = Story::new();
        story.happens(table(&[
            (Transport::Tcp, LOG, true),
            (Transport::File, FILE, true),
        ]));
        served(&mut story, 20, &[to(LOG)]);
        for goid in 21..24 {
            story.after(S / 2);
            served(&mut story, goid, &[]);
            let entry = EntryHead {
                remote_port: Some(50_000 + goid as u16),
                ..named(&format!("id-{goid}"), EntryKind::Response)
            };
            assert_eq!(story.queries.len(), 1, "asked for");
            story.finds(found.then_some(entry));
        }
        settles(&mut story);
        let ids: Vec<_> = story
            .refusals()
            .iter()
            .filter_map(|r| r.request.id.as_deref())
            .collect();
        let expected = ["id-21", "id-22", "id-23"];
        assert_eq!(ids, if found { &expected[..] } else { &[] });
    }
}
