use super::*;
use crate::sink::stream::tests::Flaky;
use tracer_model::{Cause, Ended, Evidence, LostEntries, Op, Summary, Transport, UntakenEntries};

/// A client may ask for a path that a terminal would obey, and a device may be a path.
#[test]
fn what_others_wrote_is_not_obeyed() {
    let evil = "x\u{1b}[2J\u{9b}31m\r\n\u{202e}y";
    let device = Device::new(Transport::Unix, evil);
    let request = RequestInfo {
        id: Some(evil.to_owned()),
        operation: Some("read".to_owned()),
        path: Some(evil.to_owned()),
        ..RequestInfo::default()
    };
    let findings = [
        Finding::Session(Session {
            exe: evil.to_owned(),
            kernel: evil.to_owned(),
            declared: vec![device.clone()],
            ..Session::default()
        }),
        Finding::Refusal(Box::new(Refusal {
            before: 0,
            http_status: None,
            device: device.clone(),
            request: request.clone(),
            start: 0,
            duration: 0,
            cause: Cause::Refused,
            errno: None,
            evidence: Evidence::default(),
            taken_elsewhere: true,
            inferred: false,
        })),
        Finding::Hang(Box::new(Hang {
            id: None,
            start: 0,
            end: 1,
            duration: 1,
            device,
            request: request.clone(),
            stalls: Vec::new(),
        })),
        Finding::Forwarded(Box::new(Forwarded {
            request: request.clone(),
            to: None,
            start: 0,
            duration: 1,
            uncertainty: 0,
        })),
        Finding::Warning(evil.to_owned()),
        Finding::Summary(Summary::default()),
    ];
    let mut terminal = Terminal::to(io::sink(), false);
    for finding in &findings {
        let text = terminal.text(finding).expect("a text");
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(obeyed), "{text:?}");
        assert!(text.contains(r"x\u{1b}[2J\u{9b}31m\u{d}\u{a}"), "{text:?}");
    }
}

const S: Nanos = 1_000_000_000;

fn device() -> Device {
    Device::configured(Transport::Tcp, "10.0.0.2:1515")
}

fn hang(number: u64) -> Finding {
    let (start, end) = (S, 5 * S + number * S / 20);
    Finding::Hang(Box::new(Hang {
        id: Some(number),
        start,
        end,
        duration: end - start,
        device: device(),
        request: RequestInfo {
            id: Some(format!("id-{number}")),
            ..RequestInfo::default()
        },
        stalls: Vec::new(),
    }))
}

/// In a connection attempt that follows others: of all the request has been blocked for so long.
fn stalled(blocked: Nanos) -> Stalled {
    Stalled {
        hang: 1,
        device: device(),
        start: S,
        at: S + 3 * S / 20,
        op: Op::Connect,
        cause: Cause::SynUnanswered,
        request: RequestInfo::default(),
        waiting: 0,
        estimated: false,
        blocked,
    }
}

fn refusal(start: Nanos) -> Finding {
    Finding::Refusal(Box::new(Refusal {
        before: 0,
        http_status: None,
        device: device(),
        request: RequestInfo::default(),
        start,
        duration: 0,
        cause: Cause::Reset,
        errno: None,
        evidence: Evidence::default(),
        taken_elsewhere: true,
        inferred: false,
    }))
}

fn incident(start: Nanos, end: Option<Nanos>) -> Finding {
    Finding::Incident(Incident {
        refusals: 0,
        device: device(),
        start,
        end,
        cause: Cause::Reset,
        hangs: 0,
        requests: 1,
        blocked: 0,
        longest: 0,
        lost: None,
        untaken: UntakenEntries::default(),
    })
}

fn loss(at: Nanos) -> Finding {
    Finding::LostEntries(LostEntries {
        device: device(),
        at,
        closed: at,
        bytes: 1,
        entries: 1,
        requests: Vec::new(),
        complete: true,
        pending: false,
        as_of: at,
        answers_dropped: false,
    })
}

fn shown(findings: impl IntoIterator<Item = Finding>) -> String {
    let mut terminal = Terminal::to(io::sink(), false);
    let texts = findings.into_iter().filter_map(|f| terminal.text(&f));
    texts.collect()
}

/// An end that is known only after something later was printed has its own time in parentheses; what comes in order has none.
#[test]
fn times_never_step_back() {
    for (unacknowledged, marks) in [
        (9 * S, "WORKS AGAIN at 00:00:08.000Z  "),
        (7 * S, "00:00:08.000Z  WORKS AGAIN  "),
    ] {
        let text = shown([hang(1), loss(unacknowledged), incident(S, Some(8 * S))]);
        let lines = text.lines().filter(|line| line.starts_with("00:"));
        let times: Vec<_> = lines.map(|line| &line[..13]).collect();
        assert!(times.len() == 3 && times.is_sorted(), "{text}");
        assert!(text.contains(marks), "{text}");
    }
}

/// The first in full, the worst by its id, all counted.
#[test]
fn many_requests_behind_one_outage_are_one_block() {
    let mut findings: Vec<_> = (0..300).map(hang).collect();
    findings.push(incident(S, Some(25 * S)));
    let text = shown(findings);
    assert_eq!(text.matches("HANG ").count(), 1, "{text}");
    assert!(text.matches("GOES ON").count() <= 2, "{text}");
    assert!(text.contains("300 requests blocked"), "{text}");
    let end = text.split("WORKS AGAIN").nth(1).expect("an end");
    assert!(end.contains("id id-299"), "{text}");
    assert!(text.lines().count() < 30, "{text}");
}

/// Two outages that are far apart are two, each in full.
#[test]
fn outages_that_follow_each_other_are_counted() {
    let fails = |every: Nanos, times: u64| {
        let each = move |at| [refusal(at), incident(at, Some(at + S / 1000))];
        shown((0..times).flat_map(move |number| each(number * every)))
    };
    let text = fails(S / 10, 1000);
    assert!(text.matches("FAILED").count() < 6, "{text}");
    assert!(
        text.contains("(again, after 99 outages that were not"),
        "{text}"
    );
    let text = fails(100 * S, 2);
    assert_eq!(text.matches("remedy").count(), 2, "{text}");
    assert_eq!(text.matches("WORKS AGAIN").count(), 2, "{text}");
}

fn ended(at: Nanos) -> Finding {
    Finding::Ended(Ended { at, under_way: 0 })
}

fn summary() -> Finding {
    Finding::Summary(Summary::default())
}

/// On a full disk findings are handed over again.
#[test]
fn what_could_not_be_written_is_written_and_counted_once() {
    let findings = || {
        [
            Finding::Session(Session::default()),
            Finding::Stalled(Box::new(stalled(S))),
            hang(1),
            hang(2),
            incident(S, Some(9 * S)),
            refusal(200 * S),
            incident(200 * S, None),
            ended(300 * S),
            summary(),
        ]
    };
    let mut terminal = Terminal::to(Flaky::default(), false);
    let mut failed = 0;
    for finding in findings() {
        while terminal.write(&finding).is_err() {
            failed += 1;
            assert!(failed < 10_000, "{finding:?}");
        }
    }
    assert!(failed > 0);
    let text = String::from_utf8(terminal.out.taken).expect("text");
    assert_eq!(text, shown(findings()));
    assert!(text.contains(": 2 outages, 2 requests blocked"), "{text}");
}

/// With `--process` a trace goes on after its server has ended.
#[test]
fn what_ended_before_a_device_worked_again_is_named() {
    let text = shown([
        refusal(S),
        incident(S, None),
        ended(9 * S),
        Finding::Attached(Session::default()),
        refusal(100 * S),
        incident(100 * S, None),
        summary(),
    ]);
    let ends: Vec<_> = text.split("NOT RECOVERED").skip(1).collect();
    let [with_server, with_trace] = ends.as_slice() else {
        panic!("{text}");
    };
    assert!(with_server.contains("when the server ended, "), "{text}");
    assert!(with_server.contains("Z  the server ended\n"), "{text}");
    assert!(with_trace.contains("when the trace ended, "), "{text}");
    assert!(with_trace.contains(": 2 outages, "), "{text}");
}

/// Field case D11: what blocked the request before is part of it.
#[test]
fn a_stall_after_another_says_both_how_long_it_lasts_and_the_request_is_blocked() {
    for (blocked, expected) in [
        (
            3 * S / 20,
            "blocked for 0.15 s so far, in a connection attempt",
        ),
        (
            435 * S / 100,
            "blocked for 4.35 s so far, the last 0.15 s of it in a connection attempt",
        ),
    ] {
        assert_eq!(so_far(&stalled(blocked)), expected);
    }
}
