//! Who waits for which device, from two samples.

use std::collections::HashMap;

use super::{audit::AuditWaits, report::StacksReport};
use crate::server::goroutines::Samples;
use tracer_format::WallClock;
use tracer_model::{
    ConfiguredDevice, Device, EntryHead, GoroutineSample, HandlerSample, Nanos, Phase, Transport,
    WaitReason,
};

const S: Nanos = 1_000_000_000;
const INTERVAL: Nanos = S / 10;
const NOW: Nanos = 100 * S;
const ID: &str = "01234567-89ab-cdef-0123-456789abcde";

fn entry(goid: u64) -> EntryHead {
    EntryHead {
        id: Some(format!("{ID}{goid}")),
        operation: Some("read".to_owned()),
        path: Some(format!("secret/data/{goid}")),
        remote_address: Some("10.0.0.9".to_owned()),
        remote_port: Some(4312),
        ..EntryHead::default()
    }
}

fn device() -> Device {
    Device::configured(Transport::Tcp, "log:1515")
}

fn wait(goid: u64, place: WaitReason) -> GoroutineSample {
    GoroutineSample {
        goid,
        ancestors: Vec::new(),
        request: None,
        place,
        since: None,
        phase: Some(Phase::Request),
        device: Some(device()),
        frames: vec!["socket.(*Backend).LogRequest".to_owned()],
        entry: Some(entry(goid)),
    }
}

fn handler(goid: u64) -> HandlerSample {
    HandlerSample {
        goid,
        ancestors: Vec::new(),
        phase: Some(Phase::Request),
        entry: Some(entry(goid)),
    }
}

/// Where these wait, in the goroutines of their requests.
fn sample(goroutines: Vec<GoroutineSample>) -> Samples {
    let handlers = goroutines.iter().map(|wait| handler(wait.goid)).collect();
    let path = "socket/".to_owned();
    let device = device();
    Samples {
        goroutines,
        handlers: Some(handlers),
        configured: Some(vec![ConfiguredDevice {
            path,
            device,
            takes_all: true,
        }]),
        ..Samples::default()
    }
}

/// One writes, the others queue behind it.
fn queue() -> Samples {
    let since = |at| Some(NOW - at);
    let queued = |goid, at| GoroutineSample {
        since: since(at),
        ..wait(goid, WaitReason::Lock)
    };
    sample(vec![
        wait(1, WaitReason::Write),
        queued(2, 3 * S),
        queued(3, 4 * S),
    ])
}

fn report(first: Samples, second: Samples) -> StacksReport {
    let waits = AuditWaits::new(first, second, INTERVAL, NOW);
    StacksReport {
        pid: 7,
        exe: "/usr/bin/bao".to_owned(),
        go_version: None,
        at: WallClock::of_offset(0).time(NOW),
        interval_ns: INTERVAL,
        requests: waits.waiting_requests(),
        passing: waits.passing(),
        goroutines: 41,
        audit: waits.groups(&HashMap::from([(1, NOW - 2 * S)])),
        others: None,
        warnings: Vec::new(),
    }
}

fn answer(first: Samples, second: Samples) -> String {
    let text = report(first, second).to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn the_first_line_says_how_many_wait_for_which_device() {
    let text = report(queue(), queue()).to_string();
    let expected = format!(
        "\
3 requests wait for the audit device socket/ (tcp log:1515).

socket/ (tcp log:1515)
  1 request: writing, request entry, for at least 2.00 s
      read secret/data/1 of client 10.0.0.9:4312, id {ID}1, for at least 2.00 s
      in socket.(*Backend).LogRequest
  2 requests: queued behind another request (lock), request entry, the longest for 4.00 s
      read secret/data/3 of client 10.0.0.9:4312, id {ID}3, for 4.00 s
      read secret/data/2 of client 10.0.0.9:4312, id {ID}2, for 3.00 s
      in socket.(*Backend).LogRequest

`vault-tracer stacks --all` shows all goroutines.
"
    );
    assert_eq!(text, expected);
}

#[test]
fn what_passes_through_audit_code_does_not_wait() {
    let expected = "No request waits for an audit device. 41 goroutines, 3 of them in audit code for less than 0.10 s.";
    assert_eq!(answer(Samples::default(), queue()), expected);
    // The next request of the same connection.
    let mut earlier = queue();
    for handler in earlier.handlers.iter_mut().flatten() {
        handler.entry = Some(entry(9));
    }
    assert_eq!(answer(earlier, queue()), expected);
    // For the response now.
    let mut earlier = queue();
    for handler in earlier.handlers.iter_mut().flatten() {
        handler.phase = Some(Phase::Response);
    }
    assert_eq!(answer(earlier, queue()), expected);
    let healthy = answer(Samples::default(), Samples::default());
    assert_eq!(
        healthy,
        "No request waits for an audit device. 41 goroutines."
    );
}

/// Nothing is known of the requests of a stripped server.
#[test]
fn a_goroutine_that_has_not_run_waits_whatever_its_request() {
    let unknown = || {
        let mut sample = queue();
        for wait in &mut sample.goroutines {
            (wait.entry, wait.device) = (None, None);
        }
        for handler in sample.handlers.iter_mut().flatten() {
            handler.entry = None;
        }
        sample
    };
    let second = Samples {
        unmoved: vec![1, 2],
        ..unknown()
    };
    let report = report(unknown(), second);
    assert_eq!((report.requests, report.passing), (2, 1));
    assert!(
        report
            .to_string()
            .starts_with("2 requests wait for an audit device; which one is unknown.\n")
    );
    assert!(report.audit.iter().all(|group| group.waiting.is_empty()));
}

/// Sinks have goroutines of their own, which may go on when the request has been answered.
#[test]
fn a_sink_counts_for_its_request_as_long_as_that_waits() {
    let sinks = |handlers: &[u64]| {
        let sink = |goid, request| GoroutineSample {
            request: Some(request),
            entry: Some(entry(request)),
            ..wait(goid, WaitReason::Write)
        };
        Samples {
            goroutines: vec![sink(50, 5), sink(60, 6)],
            handlers: Some(handlers.iter().map(|goid| handler(*goid)).collect()),
            unmoved: vec![50, 60],
            ..queue()
        }
    };
    let both = report(sinks(&[5, 6]), sinks(&[5, 6]));
    assert_eq!((both.requests, both.audit[0].goroutines), (2, 2));
    let one = report(sinks(&[5, 6]), sinks(&[6]));
    assert_eq!((one.requests, one.audit[0].goroutines), (1, 2));
    assert_eq!(one.audit[0].waiting.len(), 1);
    let none = report(sinks(&[]), sinks(&[]));
    assert_eq!((none.requests, none.passing), (0, 0));
    let text = none.to_string();
    assert!(text.starts_with("No request waits for an audit device. 41 goroutines, 2 of them in audit code: for no request"), "{text}");
    assert!(
        text.contains("2 goroutines without a waiting request: writing"),
        "{text}"
    );
    // A request that waits in the broker for a device that does not show.
    let other = report(sinks(&[5, 6, 7]), sinks(&[5, 6, 7]));
    assert_eq!((other.requests, other.audit.len()), (2, 2));
    assert_eq!(
        other.audit[1].waiting[0].path.as_deref(),
        Some("secret/data/7")
    );
}

#[test]
fn a_wait_for_something_else_in_audit_code_is_not_one_for_the_device() {
    let salt = || sample(vec![wait(1, WaitReason::Other)]);
    let report = report(salt(), salt());
    assert_eq!((report.requests, report.audit[0].requests), (0, 1));
}

#[test]
fn several_devices_are_counted_each_for_itself() {
    let two = || {
        let file = GoroutineSample {
            device: Some(Device::configured(Transport::File, "/var/log/a")),
            ..wait(4, WaitReason::Write)
        };
        let mut sample = queue();
        sample.handlers.get_or_insert_default().push(handler(4));
        sample.goroutines.push(file);
        sample
    };
    assert_eq!(
        answer(two(), two()),
        "4 requests wait for audit devices: 3 for socket/ (tcp log:1515), 1 for file /var/log/a."
    );
}

#[test]
fn listed_requests_are_bounded_and_what_clients_wrote_is_not_obeyed() {
    let many = || {
        let waits = (1000..1500).map(|goid| {
            let mut wait = wait(goid, WaitReason::Lock);
            let path = "a\u{1b}[2J".to_owned();
            wait.entry.get_or_insert_default().path = Some(path);
            wait
        });
        sample(waits.collect())
    };
    let report = report(many(), many());
    let group = &report.audit[0];
    assert_eq!((group.requests, group.waiting.len()), (500, 100));
    let text = report.to_string();
    assert!(
        text.contains("and 490 more") && !text.contains('\u{1b}'),
        "{text}"
    );
}
