//! The report as the library makes it: text of clients, and traces of any length.

use std::{io::BufReader, iter};

use test_support::traces::{self, Trace};
use tracer::report::{self, aggregate::Aggregator, html, summary::Report, text};

use crate::{
    convoy,
    rotated::{BEGINS, rotated, stalled},
    text_of,
};

/// A path that a client may choose.
const HOSTILE: &str = "</script></style><img src=x onerror=alert(1)>\"'><svg/onload=alert(2)>&amp;\u{1b}]0;x\u{7}\u{202e}\n";

#[test]
fn text_of_a_client_is_escaped_wherever_it_is_shown() {
    let trace = text_of(&convoy());
    let quoted = serde_json::to_string(HOSTILE).expect("JSON");
    let mut hostile = trace.replace("\"sys/mounts\"", &quoted);
    for field in [
        "127.0.0.1",
        "NETFILTER_DROP",
        "10.77.0.2:1515",
        "local_drop",
        "go1.27.3",
    ] {
        hostile = hostile.replace(field, quoted.trim_matches('"'));
    }
    let report = of_lines(hostile.as_bytes());
    let text = text::text(&report);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    assert!(!text.contains('\u{202e}'));
    assert!(text.contains("\\u{1b}]0;x"), "{text}");
    let page = html::page(&report);
    assert!(!page.contains("<img") && !page.contains("<svg/"));
    assert_eq!(page.matches("</script").count(), 1);
    assert_eq!(page.matches("</style").count(), 1);
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
}

fn of_lines(trace: &[u8]) -> Report {
    let mut aggregator = Aggregator::default();
    report::read(&mut aggregator, "trace.jsonl", trace).expect("a trace");
    aggregator.finish()
}

fn kept_of(hangs: u64) -> (usize, Report) {
    let mut aggregator = Aggregator::default();
    report::read(&mut aggregator, "long", BufReader::new(Trace::of(hangs))).expect("a trace");
    (aggregator.kept(), aggregator.finish())
}

#[test]
fn memory_does_not_grow_with_the_trace_and_everything_is_counted() {
    let (few, _) = kept_of(20_000);
    let hangs = 40_000;
    let (many, report) = kept_of(hangs);
    assert!(
        many <= few + 2000,
        "{few} of 20,000 hangs, {many} of 40,000"
    );
    let mut lengths: Vec<_> = (0..hangs).map(traces::duration).collect();
    lengths.sort_unstable();
    assert_eq!(report.total.hangs, hangs);
    assert_eq!(report.total.blocked_ns, lengths.iter().sum::<u64>());
    assert_eq!(report.requests_blocked, hangs);
    assert_eq!(
        report.worst_hangs.len() as u64 + report.hangs_left_out,
        hangs
    );
    let worst: Vec<_> = report
        .worst_hangs
        .iter()
        .map(|hang| hang.record.duration_ns)
        .collect();
    let longest: Vec<_> = lengths.iter().rev().take(worst.len()).copied().collect();
    assert_eq!(worst, longest);
    let times = report.percentiles.as_ref().expect("percentiles");
    for (reported, quantile) in [
        (times.p50_ns, 500),
        (times.p99_ns, 990),
        (times.p999_ns, 999),
    ] {
        let exact = lengths[(hangs * quantile / 1000) as usize - 1];
        let error = reported.abs_diff(exact) as f64 / exact as f64;
        assert!(error <= times.precision, "{reported} for {exact}");
    }
    let of_devices: u64 = report.devices.iter().map(|device| device.total.hangs).sum();
    assert_eq!(of_devices, hangs);
    let paths = &report.affected.paths;
    let of_paths: u64 = paths.top.iter().map(|path| path.totals.hangs).sum();
    assert_eq!(of_paths + paths.others.totals.hangs, hangs);
    assert!(paths.others.names_is_lower_bound);
    assert!(
        paths.top[0].name.starts_with("auth/token/lookup-"),
        "{paths:?}"
    );
    assert_eq!(
        report.incidents.len() as u64 + report.incidents_left_out,
        hangs / 100
    );
    assert!(html::page(&report).len() < 2_000_000);
}

fn kept_of_lines(lines: impl Iterator<Item = String>) -> (usize, Report) {
    let trace: String = lines.map(|line| line + "\n").collect();
    let mut aggregator = Aggregator::default();
    report::read(&mut aggregator, "parts", trace.as_bytes()).expect("a trace");
    (aggregator.kept(), aggregator.finish())
}

/// One trace that goes on in any number of files, and any number of traces that go on in one.
#[test]
fn memory_does_not_grow_with_traces_that_go_on_in_other_files() {
    let most = Aggregator::default().kept() + 5000;
    let parts = (1..100_000).map(rotated);
    let (kept, _) = kept_of_lines(iter::once(BEGINS.to_owned()).chain(parts));
    assert!(kept < most, "{kept}");

    let traces = 20_000;
    let (kept, report) = kept_of_lines((0..traces).flat_map(|number| {
        let session = BEGINS.replace(".000000000Z", &format!(".{number:09}Z"));
        [session, stalled(), rotated(1)]
    }));
    assert!(kept < most, "{kept}");
    let under_way = report.under_way.len() as u64 + report.under_way_left_out;
    assert_eq!(under_way, traces, "each is counted");
}
