use super::*;
use tracer_model::{
    Cause, Condition, DeviceSnapshot, Ended, Forwarded, LostEntries, Op, OpenStall, RequestInfo,
    Snapshot, Summary, Transport,
};

fn device(address: &str) -> Device {
    Device::new(Transport::Unix, address)
}

fn text(findings: &[Finding]) -> String {
    let mut metrics = Metrics::new();
    for finding in findings {
        metrics.write(finding).expect("it cannot fail");
    }
    metrics.exposition().text().expect("it cannot fail")
}

fn loss(address: &str) -> Finding {
    Finding::LostEntries(LostEntries {
        device: device(address),
        at: 0,
        closed: 0,
        bytes: 10,
        entries: 1,
        requests: Vec::new(),
        complete: true,
        pending: false,
        as_of: 0,
        answers_dropped: false,
    })
}

#[test]
fn devices_beyond_the_limit_share_one_series() {
    let losses: Vec<_> = (0..1000)
        .map(|number| loss(&format!("/{number}")))
        .collect();
    let text = text(&losses);
    let series = text
        .lines()
        .filter(|line| line.starts_with("vault_tracer_lost_bytes_total{"));
    assert_eq!(series.count(), 65);
    let others = "vault_tracer_lost_bytes_total{device=\"other\",transport=\"other\"} 9360\n";
    assert!(text.contains(others), "{text}");
}

#[test]
fn an_address_is_escaped_and_an_empty_one_is_unknown() {
    let text = text(&[loss("/a\"b\\c\nd"), loss("")]);
    for label in ["{device=\"/a\\\"b\\\\c\\nd\",", "{device=\"unknown\","] {
        assert!(text.contains(label), "{text}");
    }
}

#[test]
fn a_restarted_server_replaces_the_earlier_one() {
    let session = |pid| Session {
        pid,
        ..Session::default()
    };
    let text = text(&[Finding::Session(session(1)), Finding::Attached(session(2))]);
    assert!(text.contains("vault_tracer_server_restarts_total 1\n"));
    let series: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("vault_tracer_session_info{"))
        .collect();
    assert_eq!(series.len(), 1, "{series:?}");
    assert!(series[0].contains("pid=\"2\""), "{series:?}");
}

fn snapshot(requests: u64, under_way: Option<u64>, condition: Condition) -> Finding {
    Finding::Snapshot(Box::new(Snapshot {
        totals: Summary {
            requests,
            ..Summary::default()
        },
        under_way,
        devices: vec![DeviceSnapshot {
            device: device("/log"),
            condition: Some(condition),
            since: None,
            cause: None,
            buffer: None,
            entries: None,
            bytes: None,
            waiting: 0,
            estimated: false,
        }],
        ..Snapshot::default()
    }))
}

/// The value of each series of a metric.
fn values<'a>(text: &'a str, metric: &str) -> Vec<&'a str> {
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(metric);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    lines.filter_map(|line| line.rsplit(' ').next()).collect()
}

#[test]
fn a_server_that_has_ended_leaves_no_condition_behind() {
    let Finding::Snapshot(mut stalled) = snapshot(7, Some(2), Condition::Stalled) else {
        unreachable!()
    };
    stalled.blocked = 2;
    stalled.devices[0].waiting = 1;
    let stall = OpenStall {
        hang: Some(1),
        device: device("/log"),
        start: 0,
        op: Op::Write,
        cause: Cause::PeerFull,
        request: RequestInfo::default(),
        blocked: 1,
    };
    stalled.stalls = vec![stall];
    let gauges = [
        "vault_tracer_device_condition",
        "vault_tracer_stalls_open",
        "vault_tracer_requests_waiting",
        "vault_tracer_requests_held_up",
        "vault_tracer_requests_under_way",
    ];
    let stalled = Finding::Snapshot(stalled);
    let during = text(std::slice::from_ref(&stalled));
    for gauge in gauges {
        let values = values(&during, gauge);
        assert!(
            values.iter().any(|value| *value != "0"),
            "{gauge}: {during}"
        );
    }
    let ended = Finding::Ended(Ended {
        at: 1,
        under_way: 2,
    });
    let after = text(&[stalled, ended]);
    for gauge in gauges {
        let values = values(&after, gauge);
        assert!(!values.is_empty(), "{gauge}: {after}");
        assert!(values.iter().all(|value| *value == "0"), "{gauge}: {after}");
    }
    assert!(after.contains("vault_tracer_requests_total 7\n"), "{after}");
}

#[test]
fn an_unknown_gauge_is_absent_and_a_total_never_falls() {
    let known = snapshot(7, Some(2), Condition::Works);
    let unknown = snapshot(5, None, Condition::Failing);
    let before = text(std::slice::from_ref(&known));
    assert!(
        before.contains("vault_tracer_requests_under_way 2\n"),
        "{before}"
    );
    let after = text(&[known, unknown]);
    assert!(
        !after.contains("\nvault_tracer_requests_under_way "),
        "{after}"
    );
    assert!(after.contains("vault_tracer_requests_total 7\n"), "{after}");
    assert!(after.contains("condition=\"failing\"} 1\n"), "{after}");
    assert!(after.contains("condition=\"ok\"} 0\n"), "{after}");
}

#[test]
fn series_of_a_device_that_is_gone_expire() {
    const MINUTE: Nanos = 60_000_000_000;
    let at = |minutes: Nanos, is_there: bool| {
        let Finding::Snapshot(mut snapshot) = snapshot(7, None, Condition::Failing) else {
            unreachable!()
        };
        snapshot.at = minutes * MINUTE;
        snapshot.devices.truncate(is_there.into());
        Finding::Snapshot(snapshot)
    };
    let there = at(1, true);
    let failing = "condition=\"failing\"} 1\n";
    assert!(text(std::slice::from_ref(&there)).contains(failing));
    let soon = text(&[there.clone(), at(2, false), at(6, false)]);
    assert!(soon.contains("/log") && !soon.contains(failing), "{soon}");
    let late = text(&[there.clone(), at(2, false), at(7, false)]);
    assert!(!late.contains("/log"), "{late}");
    // It came back in between.
    let back = text(&[there.clone(), at(2, false), at(6, true), at(8, false)]);
    assert!(back.contains("/log"), "{back}");
    // Once more there, it has all its series again.
    let again = text(&[there.clone(), at(2, false), at(7, false), at(8, true)]);
    let before = text(&[there]);
    assert_eq!(
        again.matches("/log").count(),
        before.matches("/log").count()
    );
}

#[test]
fn a_forwarded_request_is_counted_and_blocked_by_no_device() {
    let forwarded = Finding::Forwarded(Box::new(Forwarded {
        request: RequestInfo::default(),
        to: None,
        start: 0,
        duration: 1,
        uncertainty: 0,
    }));
    let text = text(&[forwarded.clone(), forwarded]);
    for line in [
        "vault_tracer_forwarded_requests_total 2\n",
        "vault_tracer_requests_blocked_total 0\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// The labels of all other series stay what they are when the path becomes known.
#[test]
fn the_path_of_a_device_is_a_metric_of_its_own() {
    let with_path = |path: Option<&str>| {
        let Finding::Snapshot(mut snapshot) = snapshot(7, None, Condition::Works) else {
            unreachable!()
        };
        snapshot.devices[0].device.path = path.map(ToOwned::to_owned);
        Finding::Snapshot(snapshot)
    };
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("/log"));
        let mut lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    let info = |path: &str| {
        format!("vault_tracer_device_info{{device=\"/log\",transport=\"unix\",path=\"{path}\"}} 1")
    };
    let unknown = lines(&text(&[with_path(None)]));
    let known = lines(&text(&[with_path(None), with_path(Some("socket/"))]));
    let added: Vec<_> = known.iter().filter(|l| !unknown.contains(l)).collect();
    assert_eq!(added, [&info("socket/")]);
    let moved = [with_path(Some("socket/")), with_path(Some("other/"))];
    let moved = lines(&text(&moved));
    assert!(moved.contains(&info("other/")), "{moved:?}");
    assert!(!moved.contains(&info("socket/")), "{moved:?}");
    let gone = text(&[with_path(Some("socket/")), with_path(None)]);
    assert_eq!(lines(&gone), unknown);
}
