use serde_json::json;

use super::*;

const S: i128 = 1_000_000_000;
/// 2026-11-30T12:00:00Z.
const NOON: i128 = 1_796_040_000 * S;

fn id(number: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{number:02}")
}

/// From so many ms after noon, for so long.
fn request(number: u8, start: i128, took: u64) -> Request {
    Request {
        id: Some(id(number)),
        port: 40_000 + u16::from(number),
        path: "sys/mounts".to_owned(),
        status: 200,
        started: NOON + start * S / 1000,
        took: Duration::from_millis(took),
        worked: Duration::ZERO,
    }
}

fn time(ms: i128) -> String {
    let time = Timestamp::from_nanosecond(NOON + ms * S / 1000).expect("a time");
    time.to_string()
}

fn hang(number: u8, start: i128, took: i128, op: &str, cause: &str) -> Value {
    let nanos = took * S / 1000;
    json!({
        "type": "hang", "start": time(start), "end": time(start + took), "duration_ns": nanos as u64, "cause": cause,
        "device": { "transport": "tcp", "address": "10.77.0.2:1515" },
        "request": { "id": id(number), "client_port": 40_000 + u16::from(number), "path": "sys/mounts" },
        "stalls": [{ "op": op, "start": time(start), "duration_ns": nanos as u64 }],
    })
}

fn observed(requests: Vec<Request>) -> Observed {
    Observed {
        requests,
        fault: Some((NOON, NOON + 10 * S)),
        healthy: (Duration::from_millis(1), Duration::from_millis(3)),
        busy: false,
        reset: false,
        late: Duration::ZERO,
        devices: vec!["10.77.0.2:1515".to_owned()],
        untaken: None,
        audited: Vec::new(),
    }
}

fn cells(verdict: &Verdict) -> Vec<(&str, &str)> {
    let cells = verdict.cells.iter();
    cells
        .map(|cell| (cell.injected.as_str(), cell.reported.as_str()))
        .collect()
}

#[test]
fn what_agrees_is_right_in_all() {
    let requests = vec![
        request(1, 100, 1002),
        request(2, 100, 2),
        request(3, 200, 90),
    ];
    let verdict = compare(
        Kind::ArrivalsDropped,
        &observed(requests),
        &[hang(1, 101, 1000, "write", "no_ack")],
    );
    assert_eq!(verdict.disagreements(), Vec::<String>::new());
    assert_eq!(cells(&verdict), [("no_ack", "no_ack")]);
    assert_eq!((verdict.ties, verdict.blocked, verdict.unnamed), (1, 1, 0));
    assert_eq!(verdict.lengths[0].off, 1_000_000);
}

/// One wrong field each.
#[test]
fn what_disagrees_is_found() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 8] = [
        ("cause: no_ack injected, refused", |hang| {
            hang["cause"] = json!("refused");
        }),
        ("id: no client's", |hang| {
            hang["request"]["id"] = json!(id(9));
            hang["request"]["client_port"] = json!(1);
        }),
        ("id: Request", |hang| {
            hang["request"]["client_port"] = json!(40_002);
        }),
        ("id: Request", |hang| {
            hang["request"]["path"] = json!("sys/auth");
        }),
        ("false hang: 2s of", |hang| {
            hang["duration_ns"] = json!(2_000_000_000);
        }),
        ("id: Request", |hang| hang["end"] = json!(time(4000))),
        ("device: ", |hang| {
            hang["device"]["address"] = json!("10.77.0.3:1515");
        }),
        ("length: 300ms of", |hang| {
            hang["stalls"][0]["duration_ns"] = json!(300_000_000);
        }),
    ];
    for (expected, change) in cases {
        let mut hang = hang(1, 101, 1000, "write", "no_ack");
        change(&mut hang);
        let requests = vec![request(1, 100, 1002), request(2, 100, 2)];
        let verdict = compare(Kind::ArrivalsDropped, &observed(requests), &[hang]);
        let found = verdict.disagreements();
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn a_blocked_request_without_a_hang_is_missing_unless_the_machine_is_slow() {
    let mut observed = observed(vec![request(1, 100, 400)]);
    let verdict = compare(Kind::OutputDropped, &observed, &[]);
    assert_eq!(verdict.missing_hangs.len(), 1);
    assert_eq!(cells(&verdict), [("local_drop", NOTHING)]);
    observed.busy = true;
    let verdict = compare(Kind::OutputDropped, &observed, &[]);
    assert_eq!(verdict.disagreements(), Vec::<String>::new());
    observed.busy = false;
    observed.late = Duration::from_millis(300);
    let verdict = compare(Kind::OutputDropped, &observed, &[]);
    assert_eq!(verdict.disagreements(), Vec::<String>::new());
    observed.late = Duration::ZERO;
    observed.requests[0].worked = Duration::from_millis(390);
    let verdict = compare(Kind::OutputDropped, &observed, &[]);
    assert_eq!(verdict.disagreements(), Vec::<String>::new());
}

#[test]
fn where_nothing_is_broken_nothing_is_right() {
    let mut healthy = observed(vec![request(1, 100, 3)]);
    healthy.fault = None;
    let verdict = compare(Kind::Nothing, &healthy, &[]);
    assert_eq!(cells(&verdict), [(NONE, NONE)]);
    assert_eq!(verdict.disagreements(), Vec::<String>::new());
    let refusal = json!({ "type": "refusal", "cause": "reset", "device": hang(1, 0, 1, "write", "")["device"] });
    let verdict = compare(Kind::OneReset, &healthy, &[refusal]);
    assert_eq!(cells(&verdict), [(NONE, "reset")]);
}

/// The client of a request that failed got no ID: a hang is assigned by port and time.
#[test]
fn failed_requests_are_known_by_port_and_time() {
    let failed = |number, start| Request {
        id: None,
        status: 500,
        ..request(number, start, 1002)
    };
    let one = observed(vec![failed(1, 100), failed(1, 1200)]);
    let verdict = compare(
        Kind::OutputDropped,
        &one,
        &[hang(1, 101, 1000, "connect", "local_drop")],
    );
    assert_eq!(verdict.ties, 1);
    assert_eq!(verdict.missing_hangs.len(), 1);
    // Two streams of one connection, both under way.
    let two = observed(vec![failed(1, 100), failed(1, 99)]);
    let verdict = compare(
        Kind::OutputDropped,
        &two,
        &[hang(1, 101, 1000, "connect", "local_drop")],
    );
    assert_eq!((verdict.ties, verdict.wrong_ids.len()), (0, 0));
}

#[test]
fn each_lost_entry_is_counted_once_and_by_the_right_id() {
    let incident = |failed: u64, missed: &[String]| {
        json!({
            "type": "incident", "cause": "local_drop", "device": hang(1, 0, 1, "write", "")["device"],
            "failed_entries": failed, "missed_entries": missed.len(), "missed_requests": missed,
        })
    };
    let lost = |ids: &[String]| json!({ "type": "lost_entries", "entries": ids.len(), "requests": ids, "complete": true });
    let untaken = vec![id(1), id(1), id(2)];
    for (records, right) in [
        (vec![incident(2, &[id(2)])], true),
        (vec![incident(1, &[id(2)]), lost(&[id(1)])], true),
        (vec![incident(1, &[id(2)])], false),
        (vec![incident(2, &[id(3)])], false),
        (vec![incident(3, &[id(2)])], false),
    ] {
        let mut observed = observed(vec![request(1, 100, 3)]);
        observed.untaken = Some(untaken.clone());
        let verdict = compare(Kind::OutputDropped, &observed, &records);
        assert_eq!(verdict.wrong_entries.is_empty(), right, "{records:?}");
        assert_eq!(verdict.entries.map(|entries| entries.missing), Some(3));
    }
    // What the kernel still tries to deliver is not counted yet.
    let mut pending = lost(&[id(1)]);
    pending["pending"] = json!(true);
    let mut observed = observed(vec![request(1, 100, 3)]);
    observed.untaken = Some(untaken);
    assert!(
        compare(Kind::OutputDropped, &observed, &[pending])
            .entries
            .is_none()
    );
}
