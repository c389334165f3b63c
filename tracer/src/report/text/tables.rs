//! The sections below the answer: percentiles, rankings, incidents, files.

use std::fmt::Write as _;

use super::{paragraph, title};
use tracer_format::text::{between, clean, count, digits, duration, explain, moment, span};

use crate::report::summary::{Completeness, FileSummary, Ranking, Report};

/// Names of a ranking that are listed.
const NAMES: usize = 5;
/// Incidents that are listed.
const LINES: usize = 10;

pub(super) fn times(out: &mut String, report: &Report) {
    let Some(times) = &report.percentiles else {
        return;
    };
    title(out, "time lost");
    let line = format!(
        "hangs: p50 {}, p90 {}, p99 {}, longest {}",
        duration(times.p50_ns),
        duration(times.p90_ns),
        duration(times.p99_ns),
        duration(report.longest_ns),
    );
    paragraph(out, "  ", &line);
    let waits: Vec<_> = (report.waits.iter())
        .map(|wait| {
            let what = match wait.op.as_str() {
                "lock" => "queueing behind others",
                "connect" => "connecting",
                "write" => "writing",
                other => other,
            };
            let (time, times) = (duration(wait.duration_ns), count(wait.count, "wait"));
            format!("{} {time} ({times})", clean(what))
        })
        .collect();
    paragraph(out, "  ", &format!("spent {}", waits.join(", ")));
}

pub(super) fn affected(out: &mut String, report: &Report) {
    let affected = &report.affected;
    for (what, ranking) in [
        ("paths most affected", &affected.paths),
        ("operations", &affected.operations),
        ("clients", &affected.clients),
    ] {
        of_ranking(out, what, ranking);
    }
}

fn of_ranking(out: &mut String, what: &str, ranking: &Ranking) {
    if ranking.top.is_empty() {
        return;
    }
    title(out, what);
    for named in ranking.top.iter().take(NAMES) {
        let more = match named.at_most_more_ns {
            0 => String::new(),
            more => format!(" (or up to {} more)", duration(more)),
        };
        let (time, hangs) = (
            duration(named.totals.blocked_ns),
            count(named.totals.hangs, "hang"),
        );
        let _ = writeln!(out, "{time:>14}  {hangs:>12}  {}{more}", clean(&named.name));
    }
    let rest = ranking.top.iter().skip(NAMES);
    let mut others = ranking.others;
    for named in rest {
        others.totals.blocked_ns = others
            .totals
            .blocked_ns
            .saturating_add(named.totals.blocked_ns);
        others.totals.hangs += named.totals.hangs;
        others.names += 1;
    }
    if others.totals.hangs > 0 {
        let least = if others.names_is_lower_bound {
            "more than "
        } else {
            ""
        };
        let (time, hangs) = (
            duration(others.totals.blocked_ns),
            count(others.totals.hangs, "hang"),
        );
        let names = digits(others.names);
        let _ = writeln!(out, "{time:>14}  {hangs:>12}  {least}{names} others");
    }
}

pub(super) fn incidents(out: &mut String, report: &Report) {
    if report.incidents.is_empty() {
        return;
    }
    title(out, "incidents");
    for incident in report.incidents.iter().take(LINES) {
        let record = &incident.record;
        let lasted = match record.end {
            Some(end) => format!("for {}", duration(between(record.start, end))),
            None => "to the end of the server or the trace".to_owned(),
        };
        let lost = record.lost_entries.filter(|lost| *lost > 0);
        let lost = lost.map(|lost| format!(", {} lost", count(lost, "entry")));
        let requests = count(record.requests, "request");
        let cost = match record.hangs {
            0 => explain::failed_for(record.requests),
            _ => format!("{requests} blocked for {}", duration(record.blocked_ns)),
        };
        let line = format!(
            "{}  {} {lasted}: {}, {cost}{}",
            moment(record.start),
            clean(&record.device.to_string()),
            clean(&record.cause),
            lost.unwrap_or_default(),
        );
        paragraph(out, "  ", &line);
        let device = clean(&record.device.to_string()).into_owned();
        let untaken = explain::untaken(
            &device,
            (record.failed_entries, record.missed_entries),
            record.untaken_is_lower_bound,
        );
        if let Some(untaken) = untaken {
            paragraph(out, "    ", &untaken);
        }
    }
    let listed = report.incidents.len().min(LINES) as u64;
    let more = report.incidents.len() as u64 + report.incidents_left_out - listed;
    if more > 0 {
        let _ = writeln!(out, "  and {} more", digits(more));
    }
}

pub(super) fn files(out: &mut String, report: &Report) {
    title(
        out,
        if report.files.len() > 1 {
            "by file"
        } else {
            "the trace itself"
        },
    );
    for file in &report.files {
        of_file(out, file, report.files.len() > 1);
    }
}

fn of_file(out: &mut String, file: &FileSummary, with_totals: bool) {
    let _ = writeln!(out, "  {}", clean(&file.file));
    let mut about = about_file(file);
    if !with_totals {
        // They are the report's own.
        about.pop();
    }
    for line in about.into_iter().chain(missing(&file.trace)) {
        paragraph(out, "    ", &line);
    }
}

/// The server, the agent, and, as the last line, the totals.
pub(in crate::report) fn about_file(file: &FileSummary) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(session) = file.sessions.last() {
        let words = [
            Some(format!("PID {}", session.pid)),
            Some(session.exe.clone()),
            session.go_version.clone(),
            Some(format!("Linux {}", session.kernel)),
            Some(format!("vault-tracer {}", session.version)),
        ];
        let words: Vec<_> = words.iter().flatten().map(|word| clean(word)).collect();
        lines.push(words.join(", "));
    }
    let sessions = file.sessions.len() as u64 + file.sessions_left_out;
    if sessions > 1 {
        lines.push(format!(
            "that was the last of {}",
            count(sessions, "session")
        ));
    }
    lines.push(totals(file));
    lines
}

/// The totals of a file, in a line.
fn totals(file: &FileSummary) -> String {
    let mut facts = vec![count(file.total.hangs, "hang")];
    if file.total.hangs > 0 {
        facts.push(format!("{} in all", duration(file.total.blocked_ns)));
        facts.push(format!("longest {}", duration(file.longest_ns)));
    }
    if file.refusals > 0 {
        facts.push(explain::failed_for(file.refusals));
    }
    if file.lost.entries > 0 {
        facts.push(format!(
            "{} not acknowledged",
            count(file.lost.entries, "entry")
        ));
    }
    if let Some(requests) = file.requests {
        facts.push(format!("{} seen", count(requests, "request")));
    }
    if let (Some(start), Some(end)) = (file.start, file.end) {
        facts.push(span(start, end));
    }
    facts.join(", ")
}

/// What the trace file lacks, or that it is whole.
pub(in crate::report) fn missing(trace: &Completeness) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |is: bool, line: String| lines.extend(is.then_some(line));
    let records = count(trace.records, "record");
    let events = trace
        .events
        .map(|events| format!(", made of {}", count(events, "event")));
    let events = events.unwrap_or_default();
    add(
        trace.is_whole(),
        format!("whole: {records}{events}, none lost"),
    );
    add(!trace.is_whole(), format!("{records}{events}"));
    add(
        !trace.complete,
        "cut: it has no summary at its end, so vault-tracer was killed, or is writing it now"
            .to_owned(),
    );
    add(
        !trace.has_beginning,
        "it does not begin with a session: what came before is in another file".to_owned(),
    );
    add(
        trace.part.is_some(),
        "it goes on with the trace of an earlier file".to_owned(),
    );
    add(
        trace.next_part.is_some(),
        "its trace goes on in a later file".to_owned(),
    );
    add(
        trace.torn,
        "its last line ends in the middle and is not counted".to_owned(),
    );
    let lost = trace.events_lost.unwrap_or(0);
    add(
        lost > 0,
        format!(
            "{} lost in the kernel: durations and counts are lower bounds",
            count(lost, "event")
        ),
    );
    add(
        trace.hangs_missing > 0,
        format!(
            "{} that its summary counts are not in it",
            count(trace.hangs_missing, "hang")
        ),
    );
    if let Some(first) = &trace.first_damaged {
        let lines = count(trace.damaged_lines, "damaged line");
        add(
            true,
            format!(
                "{lines} skipped; the first is line {}: {}",
                first.line,
                clean(&first.why)
            ),
        );
    }
    add(
        trace.unknown_records > 0,
        format!(
            "{} of types that this version does not know",
            count(trace.unknown_records, "record")
        ),
    );
    lines
}
