//! The core on stories that no server ever told: whatever arrives, in whatever order, it neither fails nor claims
//! more than it can have seen. Events are made as recordings spell them, so that a field more is no other test.

use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestCaseError};
use serde_json::{Value, json};
use tracer_core::replay;
use tracer_model::{Event, Finding, Hang, Nanos, Summary};

const STATES: [&str; 8] = [
    "established",
    "syn_sent",
    "fin_wait1",
    "fin_wait2",
    "close",
    "close_wait",
    "last_ack",
    "closing",
];

/// Few of everything, so that stories cross.
fn socket() -> impl Strategy<Value = Value> {
    let transport = select(vec!["tcp", "tcp", "tcp", "udp", "unix"]);
    (
        0..6_u16,
        any::<bool>(),
        transport,
        option::weighted(0.9, 0..3_u8),
    )
        .prop_map(|(slot, accepted, transport, host)| {
            let mut socket = json!({
                "id": { "born": slot / 3, "slot": slot },
                "accepted": accepted,
                "transport": transport,
            });
            if let Some(host) = host {
                let inet = transport != "unix";
                let (name, end) = if inet {
                    ("remote", format!("10.0.0.{host}:1515"))
                } else {
                    ("path", format!("/{host}"))
                };
                socket[name] = end.into();
            }
            socket
        })
}

fn actor() -> impl Strategy<Value = Value> {
    (option::of(0..5_u64), option::of(0..5_u64))
        .prop_map(|(goid, parent)| json!({ "tid": 1, "goid": goid, "parent": parent }))
}

fn tcp() -> impl Strategy<Value = Value> {
    let size = || select(vec![0, 1, 1000, 70_000, u32::MAX]);
    option::of((any::<u32>(), size(), size(), option::of(size()), option::of(size()), option::of(size())))
        .prop_map(|tcp| {
            tcp.map_or(Value::Null, |(una, unacked, unsent, window, queued, limit)| {
                let nxt = una.wrapping_add(unacked);
                let end = nxt.wrapping_add(unsent);
                json!({ "una": una, "nxt": nxt, "end": end, "window": window, "queued": queued, "limit": limit })
            })
        })
}

fn entry() -> impl Strategy<Value = Value> {
    let kind = select(vec![Value::Null, "request".into(), "response".into()]);
    option::of((kind, option::of(0..4_u8))).prop_map(|entry| {
        entry.map_or(
            Value::Null,
            |(kind, id)| json!({ "kind": kind, "id": id.map(|id| id.to_string()) }),
        )
    })
}

fn errno() -> impl Strategy<Value = i32> {
    select(vec![0, 11, 32, 101, 104, 110, 111, 113, 115, i32::MAX])
}

fn send() -> impl Strategy<Value = Value> {
    let result = prop_oneof![
        select(vec![0, 1, 500, 1000, i64::MAX, i64::MIN]),
        errno().prop_map(|errno| -i64::from(errno)),
    ];
    let requested = option::of(select(vec![0_u64, 1, 1000, u64::MAX]));
    (socket(), actor(), result, requested, entry(), tcp()).prop_map(
        |(socket, by, result, requested, entry, tcp)| {
            json!({ "event": "send", "socket": socket, "by": by, "result": result, "requested": requested, "entry": entry, "tcp": tcp })
        },
    )
}

fn receive() -> impl Strategy<Value = Value> {
    (socket(), actor(), select(vec![0_u64, 1, 100]), any::<bool>()).prop_map(
        |(socket, by, bytes, handshake)| {
            json!({ "event": "receive", "socket": socket, "by": by, "bytes": bytes, "handshake": handshake })
        },
    )
}

fn state() -> impl Strategy<Value = Value> {
    let state = || select(STATES.to_vec());
    (socket(), option::of(actor()), state(), state(), errno(), tcp()).prop_map(
        |(socket, by, old, new, errno, tcp)| {
            json!({ "event": "state", "socket": socket, "by": by, "old": old, "new": new, "errno": errno, "tcp": tcp })
        },
    )
}

fn network() -> impl Strategy<Value = Value> {
    let event = select(vec!["retransmit", "reset", "drop", "socket_error"]);
    (event, socket(), errno(), any::<bool>()).prop_map(|(event, socket, errno, incoming)| {
        json!({ "event": event, "socket": socket, "reason": "NETFILTER_DROP", "incoming": incoming, "errno": errno, "soft": errno })
    })
}

fn rest() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({ "event": "tick" })),
        1 => (0..1000_u64).prop_map(|records| json!({ "event": "lost", "kind": "send", "records": records })),
        2 => (50_000..50_004_u16, entry()).prop_map(|(port, entry)| {
            let asked = json!({ "client_port": port, "not_before": 0, "not_after": i64::MAX });
            json!({ "event": "entry_found", "asked": asked, "entry": entry })
        }),
        3 => vec(parked(), 0..4).prop_map(|goroutines| {
            json!({ "event": "parked", "goroutines": goroutines })
        }),
        2 => (socket(), actor(), errno()).prop_map(|(socket, by, errno)| {
            json!({ "event": "connect_failed", "socket": socket, "by": by, "errno": errno })
        }),
    ]
}

fn parked() -> impl Strategy<Value = Value> {
    let place = select(vec!["lock", "lock", "resolve", "connect", "write", "other"]);
    let device = option::of(select(vec![
        "10.0.0.1:1515",
        "10.0.0.2:1515",
        "log.example:1515",
    ]));
    let line = vec(0..6_u64, 1..4);
    (line, place, device, option::of(0..6_u64), entry()).prop_map(
        |(line, place, device, request, entry)| {
            let device = device.map(|address| json!({ "transport": "tcp", "address": address }));
            json!({
                "goid": line[0], "ancestors": line[1..], "request": request, "place": place, "device": device,
                "entry": entry,
            })
        },
    )
}

fn session() -> impl Strategy<Value = Value> {
    let threshold = select(vec![0_u64, 1, 100_000_000]);
    let declared = select(vec![
        json!([]),
        json!([{ "transport": "tcp", "address": "10.0.0.1:1515" }]),
    ]);
    (threshold, declared, any::<bool>()).prop_map(|(threshold, declared, stacks)| {
        json!({
            "event": "session", "version": "0", "pid": 1, "exe": "/bao", "kernel": "6", "began": 0,
            "wall_offset": 0, "probes": [], "declared": declared, "threshold": threshold, "stacks": stacks,
        })
    })
}

/// Sometimes the clocks of two processors disagree.
fn pause() -> impl Strategy<Value = i64> {
    prop_oneof![
        1 => Just(-1000_i64),
        6 => 0..1_000_000_i64,
        3 => Just(2_000_000_000_i64),
        1 => Just(400_000_000_000_i64),
    ]
}

fn story() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![4 => send(), 2 => receive(), 3 => state(), 2 => network(), 2 => rest()];
    (session(), vec((pause(), event), 0..80)).prop_map(|(session, events)| {
        let mut now = 1_000_000_000_u64;
        let later = |(pause, event)| {
            now = now.saturating_add_signed(pause);
            at(now, event)
        };
        let mut story = vec![at(0, session)];
        story.extend(events.into_iter().map(later));
        story.push(at(now, json!({ "event": "end" })));
        story
    })
}

fn at(at: Nanos, mut event: Value) -> Event {
    event["at"] = at.into();
    serde_json::from_value(event).expect("an event as recordings spell it")
}

fn findings(story: &[Event]) -> Vec<Finding> {
    replay(story).collect()
}

fn hangs(findings: &[Finding]) -> impl Iterator<Item = &Hang> {
    findings.iter().filter_map(|finding| match finding {
        Finding::Hang(hang) => Some(&**hang),
        _ => None,
    })
}

fn summary(findings: &[Finding]) -> &Summary {
    let Some(Finding::Summary(summary)) = findings.last() else {
        panic!("the last finding is no summary");
    };
    summary
}

fn is_the_sum_of_its_stalls(hang: &Hang) -> Result<(), TestCaseError> {
    let sum: Nanos = hang.stalls.iter().map(|stall| stall.duration).sum();
    prop_assert_eq!(sum, hang.duration);
    prop_assert!(hang.end >= hang.start);
    prop_assert!(!hang.stalls.is_empty());
    Ok(())
}

/// In the summary.
fn is_counted(findings: &[Finding]) -> Result<(), TestCaseError> {
    let count = |is: fn(&Finding) -> bool| findings.iter().filter(|finding| is(finding)).count();
    let refusals = count(|finding| matches!(finding, Finding::Refusal(_)));
    let sessions = count(|finding| matches!(finding, Finding::Session(_)));
    prop_assert_eq!(summary(findings).hangs, hangs(findings).count() as u64);
    prop_assert_eq!(summary(findings).refusals, refusals as u64);
    prop_assert_eq!(sessions, 1);
    Ok(())
}

fn can_be_written(findings: &[Finding]) -> Result<(), TestCaseError> {
    for finding in findings {
        let line = tracer::sink::jsonl::line(finding, tracer::sink::wall::WallClock::default());
        let line = line.expect("it has a spelling");
        prop_assert!(line.is_none_or(|line| !line.contains('\n')));
    }
    Ok(())
}

proptest! {
    // To make a story takes longer than to replay it: all that has to hold is checked of each.
    #[test]
    fn what_is_reported_of_a_story_is_sound(story in story()) {
        let findings = findings(&story);
        for hang in hangs(&findings) {
            is_the_sum_of_its_stalls(hang)?;
        }
        is_counted(&findings)?;
        can_be_written(&findings)?;
        prop_assert_eq!(&replay(&story).collect::<Vec<_>>(), &findings, "the same again");
    }
}

/// Made-up stories that never come to a hang would prove nothing about hangs.
#[test]
fn made_up_stories_come_to_hangs_now_and_then() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let tell = |runner: &mut TestRunner| story().new_tree(runner).expect("a story").current();
    let hangs: usize = (0..300)
        .map(|_| hangs(&findings(&tell(&mut runner))).count())
        .sum();
    assert!(hangs > 20, "{hangs} hangs in 300 stories");
}
